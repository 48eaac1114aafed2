"""The cascade: a student answers what it is sure of, its teacher the rest; how sure that must be is measured here."""
