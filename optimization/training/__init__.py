"""Trains models, alone or on Ray Train workers."""
