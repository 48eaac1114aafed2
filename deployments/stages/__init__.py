"""One request, several computations: rows shared out over replicas, models one after the other."""
