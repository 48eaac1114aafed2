"""Which replicas of which models go on which nodes, found by simulation. Knows nothing of Ray."""
