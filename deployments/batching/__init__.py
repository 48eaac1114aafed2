"""Requests that wait become a batch."""
