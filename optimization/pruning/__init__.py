"""Removes weights: units, heads and layers are cut, single weights become zero."""
