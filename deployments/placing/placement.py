"""A placement: how many replicas of each model are on each node; whether they fit, and the two plain ways to place."""

from collections.abc import Sequence

from deployments.errors import SettingsError
from deployments.placing.traffic import Node
from deployments.placing.workload import Workload

Placement = tuple[tuple[int, ...], ...]
"""Replicas by model, and of each by node."""


def most_replicas(workload: Workload, node: Node) -> int:
    """Replicas of one model that a node has CPUs for at the same time; more would gain nothing."""
    return node.cpus // workload.num_threads


def memory_bytes(workloads: Sequence[Workload], placement: Placement, node: int) -> int:
    """Memory that the replicas of one node take."""
    return sum(workload.memory_bytes(on[node]) for workload, on in zip(workloads, placement, strict=True))


def fits(workloads: Sequence[Workload], nodes: Sequence[Node], placement: Placement) -> bool:
    """Whether every model has a replica, and every node memory for those it has."""
    return all(any(on) for on in placement) and all(
        memory_bytes(workloads, placement, at) <= node.memory for at, node in enumerate(nodes)
    )


def split(workloads: Sequence[Workload], nodes: Sequence[Node]) -> Placement:
    """Each model on one node, the heaviest first on the node that is busy least for its CPUs.

    Raises:
        SettingsError: no node has memory left for one of them.
    """
    for order in (_by_load, _by_memory):
        placement = [(0,) * len(nodes) for _ in workloads]
        load = [0.0] * len(nodes)
        for model in sorted(range(len(workloads)), key=lambda each: order(workloads[each]), reverse=True):
            workload = workloads[model]
            free = [
                at
                for at, node in enumerate(nodes)
                if most_replicas(workload, node)
                and memory_bytes(workloads, tuple(placement), at) + workload.memory_bytes(1) <= node.memory
            ]
            if not free:
                break
            chosen = min(free, key=lambda at: (load[at] + workload.cpu_load) / nodes[at].cpus)
            load[chosen] += workload.cpu_load
            placement[model] = with_replicas(placement[model], chosen, 1)
        else:
            return tuple(placement)
    needs = ", ".join(f"{each.name} {each.memory_bytes(1) / 2**20:.0f} MiB" for each in workloads)
    has = ", ".join(f"{node.name} {node.memory / 2**20:.0f} MiB" for node in nodes)
    raise SettingsError(
        f"nodes must have memory for a replica of each model: {needs}; got {has}. No place was found for "
        f"{workload.name!r}"
    )


def co_located(workloads: Sequence[Workload], nodes: Sequence[Node], at_most: int | None = None) -> Placement:
    """All models on all nodes, one replica for each CPU they can use, or `at_most` so many, as far as memory goes.

    Raises:
        SettingsError: no node has memory left for one of them.
    """
    placement = split(workloads, nodes)
    most = max(most_replicas(workload, node) for workload in workloads for node in nodes)
    for number in range(1, 1 + min(most, at_most or most)):
        for model, workload in enumerate(workloads):
            for at, node in enumerate(nodes):
                if placement[model][at] < number <= most_replicas(workload, node):
                    wider = replaced(placement, model, with_replicas(placement[model], at, number))
                    placement = wider if fits(workloads, nodes, wider) else placement
    return placement


def with_replicas(on: tuple[int, ...], node: int, replicas: int) -> tuple[int, ...]:
    """`on` with so many replicas on one node."""
    return (*on[:node], replicas, *on[node + 1 :])


def replaced(placement: Placement, model: int, on: tuple[int, ...]) -> Placement:
    """`placement` with another row for one model."""
    return (*placement[:model], on, *placement[model + 1 :])


def _by_load(workload: Workload) -> float:
    return workload.cpu_load


def _by_memory(workload: Workload) -> float:
    return workload.memory_bytes(1)
