"""Quality and latency, with how sure they are."""
