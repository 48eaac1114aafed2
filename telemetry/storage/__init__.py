"""What the collector keeps on disk."""
