"""Windows as a model's replicas would tell them, on no clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deployments.rollout.evidence import Arm, Window, duration_bin


@dataclass(frozen=True, kw_only=True)
class Version:
    """How one version answers."""

    failed: float = 0.001
    """Share of requests."""
    typical_s: float = 0.01
    missed: float = 0.05
    """Share of compared rows that are not as the teacher's."""
    leak_bytes_per_s: float = 0.0
    cpu_s: float = 0.004
    """Of a request."""
    non_finite: float = 0.0
    classes: tuple[float, ...] = (0.5, 0.3, 0.2)


GOOD = Version()


def windows(
    candidate: Version = GOOD,
    baseline: Version = GOOD,
    *,
    seed: int = 0,
    share: float = 0.1,
    per_s: float = 300.0,
    compared_per_s: float = 50.0,
    window_s: float = 2.0,
    first_s: float = 0.0,
) -> Iterator[Window]:
    """What is seen of both, window after window without an end; requests that come together are slow together."""
    rng = np.random.default_rng(seed)
    start_s = first_s
    while True:
        slow = rng.lognormal(0, 0.2)
        end_s = start_s + window_s
        arms = {
            name: _arm(rng, version, name, part * per_s * window_s, compared_per_s * window_s, slow, end_s, window_s)
            for name, version, part in (("baseline", baseline, 1 - share), ("candidate", candidate, share))
        }
        yield Window(start_s=start_s, end_s=end_s, **arms)
        start_s = end_s


def _arm(
    rng: np.random.Generator,
    version: Version,
    name: str,
    requests: float,
    compared: float,
    slow: float,
    end_s: float,
    window_s: float,
) -> Arm:
    num = int(rng.poisson(requests))
    failed = int(rng.binomial(num, version.failed))
    took = rng.lognormal(np.log(version.typical_s * slow), 0.4, num - failed)
    bins, counts = np.unique([duration_bin(each) for each in took], return_counts=True)
    rows = min(int(rng.poisson(compared)), num)
    filled = 2**28 + 2**24 * (1 - np.exp(-end_s / 30)) + version.leak_bytes_per_s * end_s
    classes: Any = rng.multinomial(rows, version.classes)
    return Arm(
        asked=1,
        told=1,
        requests=num,
        errors=failed,
        durations=dict(zip(bins.tolist(), counts.tolist(), strict=True)),
        compared=rows,
        agreed=int(rng.binomial(rows, 1 - version.missed)),
        answers={str(index): int(count) for index, count in enumerate(classes)},
        checked=rows,
        non_finite=int(rng.binomial(rows, version.non_finite)),
        memory_bytes={name: int(filled // 4096 * 4096)},
        cpu_s=max(0.0, num * version.cpu_s * rng.lognormal(0, 0.2)) + 0.02 * window_s,
    )
