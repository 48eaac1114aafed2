"""What stands before the replicas: HAProxy as Trimtab wants it, its log, and the short way behind it."""
