"""Steady noise of several families, and what a detector sees of it."""

import numpy as np

FAMILIES = {
    "normal": lambda rng, num: rng.normal(100, 5, num),
    "heavy-tailed": lambda rng, num: np.abs(100 + 5 * rng.standard_t(4, num)),
    "skewed": lambda rng, num: rng.lognormal(0, 0.4, num),
    "counts": lambda rng, num: rng.poisson(3, num).astype(float),
    "few counts": lambda rng, num: rng.poisson(0.3, num).astype(float),
    "constant": lambda rng, num: np.full(num, 0.7),
    "zero": lambda rng, num: np.zeros(num),
}


def steady(family, num, seed=0):
    """`num` values of the family."""
    return FAMILIES[family](np.random.default_rng([seed, num]), num).tolist()


def scores(detector, values, *, pace_s=1.0, start_s=0.0):
    """Score, then learn, each value."""
    found = []
    for place, x in enumerate(values):
        time_s = start_s + place * pace_s
        found.append(detector.score_one(x, time_s))
        detector.learn_one(x, time_s)
    return found
