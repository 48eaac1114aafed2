"""Runs a recipe: what it plans, what it builds first, its steps in order."""
