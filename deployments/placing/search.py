"""Looks for the fewest replicas that answer in time: tries every placement where there are few, else goes step by step.

    split, and the best of all models on all nodes with 1, 2, 4, ... replicas each
        -> neighbours: a replica more, less, elsewhere -> the first that is better, while there is one
        -> the finalists on longer traffic -> the best

Placements are compared by what they do with `headroom` times the expected traffic: one that answers the share `goal` of
each model's requests in time is better than one that does not, and among those the one of fewer replicas; else what
counts is that share for the model that fares worst. As in AlpaServe (Li 2023, OSDI), shares come of simulation, and all
placements get the same arrivals.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import groupby, product
from math import prod

import numpy as np

from deployments.placing.arrivals import Times, arrivals
from deployments.placing.placement import (
    Placement,
    co_located,
    fits,
    most_replicas,
    replaced,
    split,
    with_replicas,
)
from deployments.placing.simulation import Simulated, simulate
from deployments.placing.traffic import Node
from deployments.placing.workload import Workload

EXHAUSTIVE = 200
"""Up to so many placements all are tried."""
ENUMERATED = 20_000
"""Up to so many combinations, it is counted how many are left that fit and do not only exchange equal nodes."""
MOST_STEPS = 200
"""Most placements that are simulated from either start."""
NUM_FINALISTS = 5
SHORT = 0.25
"""Share of the requests that placements are first compared on."""

Score = tuple[float, int, float, float]
Progress = Callable[[int], None]
"""Told how many placements have been simulated."""


def search(
    workloads: Sequence[Workload],
    nodes: Sequence[Node],
    *,
    num_requests: int,
    seed: int,
    goal: float,
    headroom: float = 1.0,
    progress: Progress = lambda _: None,
) -> tuple[Placement, int]:
    """The best placement found, and how many were simulated. Equal calls give equal ones.

    Raises:
        SettingsError: the models do not fit the nodes' memory.
    """

    def traffic(num: int) -> list[Times]:
        return [times / headroom for times in arrivals(workloads, num, seed)]

    short = _Judge(workloads, nodes, traffic(round(SHORT * num_requests)), goal, progress)
    apart, together = split(workloads, nodes), _all_together(workloads, nodes)
    if few := _few(workloads, nodes):
        for placement in few:
            short.score(placement)
    else:
        for start in (apart, max(together, key=short.score)):
            _climb(short, start, np.random.default_rng(seed))
    long = _Judge(workloads, nodes, traffic(num_requests), goal)
    for placement in sorted({apart, *together, *short.best(NUM_FINALISTS)}):
        long.score(placement)
    # Those with the fewest replicas keep the goal by a hair, or by luck: with how many is it kept on longer traffic?
    bisect_left(short.best_by_replicas(), True, key=long.keeps_goal)
    return long.best(1)[0], len(short.scores)


def score(workloads: Sequence[Workload], placement: Placement, done: Simulated, goal: float) -> Score:
    """How good a placement proved; more is better."""
    pairs = list(zip(workloads, done.models, strict=True))
    shares = [model.share_within(workload.latency_target_s) for workload, model in pairs]
    worst, replicas = min(shares), _num_replicas(placement)
    return min(worst, goal), -replicas if worst >= goal else 0, worst, sum(shares) / len(shares)


def takes(
    workloads: Sequence[Workload], nodes: Sequence[Node], placement: Placement, times: Sequence[Times], goal: float
) -> float:
    """How many times the traffic of `times` a placement takes, so that of each model's requests the share `goal` is
    answered in time; 0 where not even a hundredth of it. Found by bisection, to 2 %."""

    def keeps(factor: float) -> bool:
        done = simulate(workloads, nodes, placement, [each / factor for each in times])
        return all(
            model.share_within(workload.latency_target_s) >= goal
            for workload, model in zip(workloads, done.models, strict=True)
        )

    low, high = 0.01, 0.02
    if not keeps(low):
        return 0.0
    while keeps(high) and high < 1e4:
        low, high = high, 2 * high
    while high > 1.02 * low:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


def _num_replicas(placement: Placement) -> int:
    return sum(map(sum, placement))


class _Judge:
    """Simulates placements, each of them once."""

    def __init__(
        self,
        workloads: Sequence[Workload],
        nodes: Sequence[Node],
        times: Sequence[Times],
        goal: float,
        progress: Progress = lambda _: None,
    ) -> None:
        self.workloads, self.nodes = workloads, nodes
        self._times, self._goal, self._progress = times, goal, progress
        self.scores: dict[Placement, Score] = {}

    def score(self, placement: Placement) -> Score:
        if placement not in self.scores:
            done = simulate(self.workloads, self.nodes, placement, self._times)
            self.scores[placement] = score(self.workloads, placement, done, self._goal)
            self._progress(len(self.scores))
        return self.scores[placement]

    def keeps_goal(self, placement: Placement) -> bool:
        return self.score(placement)[0] >= self._goal

    def best_by_replicas(self) -> list[Placement]:
        """Of those it has seen that keep the goal, the best of each number of replicas, the fewest first."""
        kept = (placement for placement in self.best(len(self.scores)) if self.keeps_goal(placement))
        ordered = sorted(kept, key=_num_replicas)  # the better of as many still first
        return [next(same) for _, same in groupby(ordered, key=_num_replicas)]

    def best(self, num: int) -> list[Placement]:
        """So many of those it has seen, the best first."""
        return sorted(self.scores, key=lambda placement: (self.scores[placement], placement), reverse=True)[:num]


def _all_together(workloads: Sequence[Workload], nodes: Sequence[Node]) -> list[Placement]:
    """All models on all nodes, with 1, 2, 4, ... replicas and with as many as there can be."""
    placements = [co_located(workloads, nodes)]
    while (fewer := co_located(workloads, nodes, 2 ** (len(placements) - 1))) not in placements:
        placements.append(fewer)
    return placements


def _climb(judge: _Judge, placement: Placement, random: np.random.Generator) -> None:
    """Go to a neighbour that is better than where one stands, until there is none or enough has been tried."""
    enough = len(judge.scores) + MOST_STEPS
    is_better = True
    while is_better:
        is_better = False
        neighbours = _neighbours(judge.workloads, judge.nodes, placement)
        for number in random.permutation(len(neighbours)):
            if len(judge.scores) >= enough:
                return
            if judge.score(neighbours[number]) > judge.score(placement):
                placement, is_better = neighbours[number], True
                break


def _neighbours(workloads: Sequence[Workload], nodes: Sequence[Node], placement: Placement) -> list[Placement]:
    """Those where one model has a replica more, less or elsewhere, or one more or less on every node that has CPUs for
    it; of those that only differ in which of equal nodes has what, one."""
    rows: dict[Placement, None] = {}
    for model, (workload, on) in enumerate(zip(workloads, placement, strict=True)):
        most = [most_replicas(workload, node) for node in nodes]
        more = [with_replicas(on, at, on[at] + 1) for at in range(len(nodes)) if on[at] < most[at]]
        less = [with_replicas(on, at, on[at] - 1) for at in range(len(nodes)) if on[at]]
        moved = [with_replicas(row, at, row[at] + 1) for row in less for at in range(len(nodes)) if on[at] < most[at]]
        wider = tuple(min(count + 1, bound) for count, bound in zip(on, most, strict=True))
        narrower = tuple(max(count - 1, 0) for count in on)
        changed = (*more, *less, *moved, wider, narrower)
        rows |= {_canonical(replaced(placement, model, row), nodes): None for row in changed}
    return [each for each in rows if each != placement and fits(workloads, nodes, each)]


def _few(workloads: Sequence[Workload], nodes: Sequence[Node]) -> list[Placement]:
    """Every placement that fits, where those are few, else none; of those that only differ in which of equal nodes has
    what, one."""
    ranges = [[range(1 + most_replicas(workload, node)) for node in nodes] for workload in workloads]
    if prod(len(each) for own in ranges for each in own) > ENUMERATED:
        return []
    found: dict[Placement, None] = {}
    for placement in product(*(product(*own) for own in ranges)):
        canonical = _canonical(placement, nodes)
        if canonical not in found and fits(workloads, nodes, canonical):
            found[canonical] = None
            if len(found) > EXHAUSTIVE:
                return []
    return list(found)


def _canonical(placement: Placement, nodes: Sequence[Node]) -> Placement:
    """The one that stands for all that exchange equal nodes: these come in falling order of what they have."""
    columns = list(zip(*placement, strict=True))
    kinds = [(node.cpus, node.memory) for node in nodes]
    ordered = {kind: sorted(c for c, k in zip(columns, kinds, strict=True) if k == kind) for kind in set(kinds)}
    return tuple(zip(*(ordered[kind].pop() for kind in kinds), strict=True))
