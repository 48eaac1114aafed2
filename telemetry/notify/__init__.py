"""Tells people and other systems of incidents, once each, however long their end is down."""
