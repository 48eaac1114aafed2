"""Objectives that a user sets for a service, and how fast their error budgets are spent."""
