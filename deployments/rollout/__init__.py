"""A new version takes over step by step, or not at all: shadow, canary, promotion, and the way back."""
