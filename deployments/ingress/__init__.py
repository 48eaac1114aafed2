"""What stands before the replicas: HAProxy as Trimtab wants it, its log, and the fast path behind it."""
