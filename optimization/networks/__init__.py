"""Architectures of ours, and how weights get into them."""
