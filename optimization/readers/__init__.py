"""Reads examples from where they lie: files, packages, hubs, the user's own code."""
