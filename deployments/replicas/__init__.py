"""How many replicas, where, and with which versions."""
