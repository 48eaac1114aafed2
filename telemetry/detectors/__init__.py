"""Causal anomaly detectors, one file each: `score_one` first, then `learn_one`."""
