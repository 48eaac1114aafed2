"""What may be wrong with machines, settings and a cluster, before and while they serve; each with what mends it."""
