"""The student answers what it is sure of, its teacher the rest."""
