"""The fewest replicas that answer a rate in time: doubled until they do, then bisected.

    rate, replicas -> a cell of the cluster, where that is large -> simulated requests -> quantiles of what they waited

A cluster of more than `CELL` replicas is a sum of equal cells, each with its share of the replicas and of the traffic:
one is simulated. An ingress counts its own requests alone, so with more than `INGRESSES` of them each knows next to
nothing of what the others do, and further ones change nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deployments.errors import SettingsError
from deployments.placing.arrivals import arrivals
from deployments.placing.simulation import simulate
from deployments.placing.traffic import Node
from deployments.placing.workload import Workload

CELL = 256
"""Most replicas that are simulated."""
INGRESSES = 256
REQUESTS = 20_000
REQUESTS_PER_REPLICA = 200
"""At least so many are simulated, so that queues grow as long as they would."""
WARM = 0.1
"""Share of the requests, the first, that are not counted: they found queues empty."""
MOST_BUSY = 0.95
"""Of their time, at the largest batches: nearer to all of it, queues grow longer than any simulation lasts."""
MOST_REPLICAS = 10**7

Progress = Callable[[int], None]
"""Told the number of replicas that is being simulated."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What so many replicas do with a rate of requests."""

    replicas: int
    requests_per_s: float
    p50_s: float
    p99_s: float
    """Infinite where more than one request in a hundred is refused."""
    refused: float
    """Share of the requests."""
    utilisation: float
    """Share of their time in which replicas are busy."""


def predicted(workload: Workload, replicas: int, node: Node, *, num_ingresses: int = 1, seed: int = 0) -> Prediction:
    """What `workload` sees of `replicas` on nodes like `node`. Equal calls give equal answers."""
    per_node = replicas_per_node(workload, node)
    cell = min(replicas, CELL)
    own = replace(workload, requests_per_s=workload.requests_per_s * cell / replicas)
    num_requests = max(REQUESTS, REQUESTS_PER_REPLICA * cell)
    on = [min(per_node, cell - begin) for begin in range(0, cell, per_node)]
    times = arrivals([own], num_requests, seed)
    nodes = [_another(node, number) for number in range(len(on))]
    done = simulate([own], nodes, (tuple(on),), times, min(num_ingresses, INGRESSES))
    latency_s = done.models[0].latency_s[round(WARM * len(times[0])) :]
    busy = sum(share * node.cpus for share in done.utilisation) / (cell * workload.num_threads)
    return Prediction(
        replicas=replicas,
        requests_per_s=workload.requests_per_s,
        p50_s=_quantile_s(latency_s, 0.5),
        p99_s=_quantile_s(latency_s, 0.99),
        refused=float(np.mean(np.isinf(latency_s))),
        utilisation=min(1.0, busy),
    )


def fewest(
    workload: Workload,
    node: Node,
    p99_s: float,
    *,
    num_ingresses: int | None = None,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Prediction:
    """The fewest replicas that answer 99 of 100 requests within `p99_s`, to one in 200 where they are many. Requests
    come through `num_ingresses`, one for each node if not given.

    Raises:
        SettingsError: a request that waits for nothing takes longer, or `MOST_REPLICAS` are too few.
    """
    per_node = replicas_per_node(workload, node)

    def tried(replicas: int) -> Prediction:
        progress(replicas)
        ingresses = num_ingresses or math.ceil(replicas / per_node)
        return predicted(workload, replicas, node, num_ingresses=ingresses, seed=seed)

    alone = predicted(replace(workload, requests_per_s=_idle_rate(workload)), 1, node, seed=seed)
    if alone.p99_s > p99_s:
        raise SettingsError(
            f"--p99 must be at least {1000 * alone.p99_s:.4g} ms, what 99 of 100 requests take that wait for nothing, "
            f"got {1000 * p99_s:g} ms: no number of replicas is faster"
        )
    low = max(1, math.ceil(_always_busy(workload) / MOST_BUSY))
    high, found = low, tried(low)
    while found.p99_s > p99_s:
        low, high = high, max(high + 1, round(1.25 * high))
        if high > MOST_REPLICAS:
            raise SettingsError(
                f"--rate must be what {MOST_REPLICAS} replicas answer within --p99, got {workload.requests_per_s:g}"
            )
        found = tried(high)
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        if (here := tried(middle)).p99_s <= p99_s:
            high, found = middle, here
        else:
            low = middle
    return found


def replicas_per_node(workload: Workload, node: Node) -> int:
    """Replicas that a node has CPUs and memory for.

    Raises:
        SettingsError: it has none for one.
    """
    by_cpus = node.cpus // workload.num_threads
    free = node.memory - workload.weights_bytes
    by_memory = int(free // workload.replica_bytes) if workload.replica_bytes else by_cpus
    if min(by_cpus, by_memory) < 1:
        raise SettingsError(
            f"a node must hold a replica of {workload.name!r}, which takes {workload.num_threads} CPUs and "
            f"{workload.memory_bytes(1) / 2**20:.0f} MiB, got {node.cpus} CPUs and {node.memory / 2**20:.0f} MiB"
        )
    return min(by_cpus, by_memory)


def _always_busy(workload: Workload) -> float:
    """Replicas that would be busy all the time, at the largest batches there can be: fewer cannot keep up."""
    num = max(1, workload.max_batch_size // workload.samples)
    return workload.requests_per_s * workload.duration_s(num * workload.samples) / num


def _idle_rate(workload: Workload) -> float:
    """Requests per second so few that one hardly ever finds another."""
    return 0.001 / workload.duration_s(workload.samples)


def _another(node: Node, number: int) -> Node:
    """Another node of its kind."""
    return node.model_copy(update={"name": f"node-{number + 1}"})


def _quantile_s(latency_s: NDArray[np.float64], q: float) -> float:
    """The latency that the share `q` of all requests keeps, those refused never."""
    return float(np.quantile(latency_s, q, method="higher"))
