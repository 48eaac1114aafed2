"""The `serve` command: what it checks first, what it starts, and what it prints."""
