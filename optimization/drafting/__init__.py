"""Drafts a recipe for a model and data that are there already: `python -m optimization init MODEL --data FILE`."""
