"""How long a model's calls take: as its manifest says, or as a running server was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from deployments.placing.traffic import ExpectedModel, Node, Traffic
from deployments.placing.workload import Workload, workloads

UNBOUNDED_S = 1e9
"""A latency target that every request keeps: what is planned for is how many do."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What was measured of a server that did nothing else."""

    latency_s: Mapping[int, tuple[float, ...]]
    """Seconds of requests that waited for nothing, as the client sees them, by how many usual ones each holds."""
    empty_s: tuple[float, ...]
    """Seconds of requests that ask nothing of the model: client, ingress, and the replica's protocol."""
    max_batch_size: int
    """Most usual requests that the server puts in one call."""


def of_manifest(model: ExpectedModel, node: Node, p99_s: float, artifacts: str) -> Workload:
    """The model as its newest version's manifest has measured it: without the network, and with no spread.

    Raises:
        ArtifactError: the artifact is missing or damaged.
        SettingsError: the manifest has no measured times, or the model cannot be what is asked.
    """
    (workload,) = workloads(Traffic(models=(model,), latency_target_s=p99_s, artifacts=artifacts), [node])
    return replace(workload, latency_target_s=None)


def of_samples(model: ExpectedModel, node: Node, samples: Samples) -> Workload:
    """The model as a server was measured: by the line through the means, and how far from it calls were.

    What a request takes besides the model is outside of the replica, but for `request_s`.

    Raises:
        SettingsError: the model does not fit the node.
    """
    outside_s = max(0.0, float(np.median(samples.empty_s)) - model.request_s)
    calls = {
        size: np.maximum(np.asarray(times) - outside_s - model.request_s, 1e-6)
        for size, times in samples.latency_s.items()
    }
    slope, start = _line({size: float(np.mean(times)) for size, times in calls.items()})
    expected = model.model_copy(
        update={
            "latency_s": {1: slope + start, 2: 2 * slope + start},
            "max_batch_size": samples.max_batch_size,
        }
    )
    (workload,) = workloads(Traffic(models=(expected,), latency_target_s=UNBOUNDED_S), [node])
    return replace(
        workload,
        latency_target_s=None,
        max_batch_size=samples.max_batch_size,
        spread=tuple((size, tuple((times / (slope * size + start)).tolist())) for size, times in sorted(calls.items())),
        overhead_s=tuple(np.maximum(np.asarray(samples.empty_s) - model.request_s, 0.0).tolist()),
    )


def _line(means: Mapping[int, float]) -> tuple[float, float]:
    """Slope and start, neither below 0, of the line that misses `means` by the least share of each."""
    sizes, seconds = np.asarray(list(means), float), np.asarray(list(means.values()))
    if len(means) > 1:
        rows = np.stack([sizes, np.ones_like(sizes)], axis=1) / seconds[:, None]
        slope, start = np.linalg.lstsq(rows, np.ones_like(seconds), rcond=None)[0].tolist()
        if slope >= 0 and start >= 0:
            return slope, start
        if slope < 0:
            return 0.0, float(np.mean(seconds))
    return float(np.mean(seconds / sizes)), 0.0
