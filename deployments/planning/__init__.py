"""How many replicas and nodes a model needs for a rate and a latency, found by simulation. Knows nothing of Ray."""
