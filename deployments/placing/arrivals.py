"""When requests arrive: a renewal process whose gaps have a Gamma distribution, as in AlpaServe (Li 2023, OSDI)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deployments.placing.workload import Workload

Times = NDArray[np.float64]


def arrivals(workloads: Sequence[Workload], num: int, seed: int) -> list[Times]:
    """Seconds at which each model's requests arrive, rising; about `num` in all. Equal calls give equal ones."""
    horizon_s = num / sum(workload.requests_per_s for workload in workloads)
    return [
        _times(workload, horizon_s, np.random.default_rng((seed, position)))
        for position, workload in enumerate(workloads)
    ]


def _times(workload: Workload, horizon_s: float, random: np.random.Generator) -> Times:
    """Where a gap's standard deviation is `c` times its mean, its Gamma distribution has the shape 1 / c²."""
    mean_s, shape = 1 / workload.requests_per_s, workload.burstiness**-2 if workload.burstiness else np.inf
    if np.isinf(shape):
        return np.arange(random.random() * mean_s, horizon_s, mean_s)
    times: list[Times] = []
    last_s = 0.0
    while last_s < horizon_s:
        gaps = random.gamma(shape, mean_s / shape, size=max(64, round(horizon_s / mean_s)))
        times.append(last_s + np.cumsum(gaps))
        last_s = float(times[-1][-1])
    joined = np.concatenate(times)
    return joined[joined < horizon_s]
