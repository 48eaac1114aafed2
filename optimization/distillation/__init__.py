"""What a small model learns from a large one, and what it begins with."""
