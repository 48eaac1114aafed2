"""Runs a model: its session, the file of packed weights, answers kept, and how many bytes wait."""
