"""Tries a recipe's steps with other settings, within a quality budget."""
