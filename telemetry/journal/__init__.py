"""Every request as it came, on disk before it is acknowledged."""
