"""Discrete-event simulation of replicas on nodes: who is answered when.

    arrival -> an ingress -> the model's replica with the fewest of its requests under way, as HAProxy chooses
            -> refused, or waits, as the batcher's own `Admission` says
            -> an idle replica takes what waits, up to a batch -> a call of `sample_s · n + call_s`

Each ingress counts its own requests alone: with many of them, the choice among replicas comes close to one at random.

Calls share their node's CPUs: while more threads work than it has, all of them go slower alike. In the node's own
time, which goes slower then, a call takes what it takes alone, so that only the first to end is looked at (virtual
time, Parekh and Gallager 1993, IEEE/ACM Transactions on Networking 1:344).
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import chain, count, repeat
from random import Random

import numpy as np
from numpy.typing import NDArray

from deployments.batching.admission import Admission
from deployments.batching.pace import Pace
from deployments.errors import OverloadedError
from deployments.placing.arrivals import Times
from deployments.placing.placement import Placement
from deployments.placing.traffic import Node
from deployments.placing.workload import Spread, Workload

REFUSED = -1
PACE_LEARNT_AT = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What became of one model's requests, in the order they arrived."""

    latency_s: NDArray[np.float64]
    """Seconds from arrival to answer; infinite where refused."""
    replica: NDArray[np.int64]
    """Which of the model's replicas answered, from 0; `REFUSED` where none did."""

    def share_within(self, target_s: float | None) -> float:
        """Share of the requests that were answered within the target; 1 where there were none."""
        if not len(self.latency_s):
            return 1.0
        return float(np.mean(self.latency_s <= (math.inf if target_s is None else target_s)))

    def quantile_s(self, q: float) -> float | None:
        """Latency of the requests that were answered; none where none was."""
        answered = self.latency_s[np.isfinite(self.latency_s)]
        return float(np.quantile(answered, q)) if len(answered) else None


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What a placement did with the requests."""

    models: tuple[Answered, ...]
    utilisation: tuple[float, ...]
    """Share of each node's CPU time that was used, until the last answer."""


def simulate(
    workloads: Sequence[Workload],
    nodes: Sequence[Node],
    placement: Placement,
    arrivals: Sequence[Times],
    num_ingresses: int = 1,
) -> Simulated:
    """Send each model's `arrivals` to its replicas, through ingresses taken at random. Equal calls give equal
    answers."""
    clock = _Clock()
    due: _Due = []
    machines = [_Machine(number, node.cpus, due) for number, node in enumerate(nodes)]
    ends = [[math.inf] * len(times) for times in arrivals]
    by = [[REFUSED] * len(times) for times in arrivals]
    replicas = [
        [_Replica(number, workload, machine, clock, model_ends) for number, machine in enumerate(_hosts(machines, on))]
        for workload, on, model_ends in zip(workloads, placement, ends, strict=True)
    ]
    random = Random(0)
    ingresses = [[_Ingress(own, random if at else None) for at in range(num_ingresses)] for own in replicas]
    woken: list[_Replica] = []
    for now_s, model, request in chain(_merged(arrivals), [(math.inf, 0, 0)]):
        if now_s > clock.now_s:  # requests of one moment share a batch
            for replica in woken:
                replica.begin(clock.now_s)
            woken.clear()
            while due and due[0][0] <= now_s:
                due_s, number = heappop(due)
                if machines[number].due_s == due_s:  # else another call has begun or ended there since
                    clock.now_s = due_s
                    machines[number].end_call(due_s)
            if now_s == math.inf:
                break
            clock.now_s = now_s
        ingress = ingresses[model][random.randrange(num_ingresses) if num_ingresses > 1 else 0]
        chosen = ingress.chosen()
        is_taken = chosen.submit(request, ingress)
        ingress.has_asked(chosen, is_taken=is_taken)
        if is_taken:
            by[model][request] = chosen.number
            if chosen.outstanding == 1:
                woken.append(chosen)
    return Simulated(
        models=tuple(
            Answered(
                latency_s=np.asarray(model_ends) - times + _overhead_s(workload, len(times), number),
                replica=np.asarray(model_by, np.int64),
            )
            for number, (workload, model_ends, times, model_by) in enumerate(
                zip(workloads, ends, arrivals, by, strict=True)
            )
        ),
        utilisation=tuple(
            machine.used_s / (machine.cpus * clock.now_s) if clock.now_s else 0.0 for machine in machines
        ),
    )


class _Clock:
    """The simulation's seconds."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


_Due = list[tuple[float, int]]
"""When the first call of a machine ends, and the machine's number; with entries that are no longer true."""


class _Machine:
    """A node at work."""

    def __init__(self, number: int, cpus: int, due: _Due) -> None:
        self._own_number, self._due = number, due
        self.cpus = cpus
        self.used_s = 0.0
        """CPU seconds."""
        self.due_s = math.inf
        """When the first of its calls ends, if no other begins."""
        self._now_s = self._virtual_s = 0.0
        self._threads = self._number = 0
        self._calls: list[tuple[float, int, _Replica]] = []
        """By the virtual time at which they end."""

    def begin_call(self, replica: "_Replica", duration_s: float, now_s: float) -> None:
        self._advance(now_s)
        self._threads += replica.num_threads
        self._number += 1
        heappush(self._calls, (self._virtual_s + duration_s, self._number, replica))
        self._look_ahead()

    def end_call(self, now_s: float) -> None:
        """End the call that is due, and let its replica go on."""
        self._advance(now_s)
        self._virtual_s, _, replica = heappop(self._calls)  # as it was meant, without what rounding left
        self._threads -= replica.num_threads
        self._look_ahead()
        replica.end(now_s)

    def _advance(self, now_s: float) -> None:
        passed_s = now_s - self._now_s
        self._now_s = now_s
        if self._threads > self.cpus:
            self.used_s += passed_s * self.cpus
            self._virtual_s += passed_s * self.cpus / self._threads
        else:
            self.used_s += passed_s * self._threads
            self._virtual_s += passed_s

    def _look_ahead(self) -> None:
        if not self._calls:
            self.due_s = math.inf
            return
        left_s = max(0.0, self._calls[0][0] - self._virtual_s)
        self.due_s = self._now_s + left_s * max(1.0, self._threads / self.cpus)
        heappush(self._due, (self.due_s, self._own_number))


class _Replica:
    """One replica and its batcher's queue."""

    def __init__(self, number: int, workload: Workload, machine: _Machine, clock: _Clock, ends: list[float]) -> None:
        """`ends` is where it notes when it has answered a request, by the request's number."""
        self.number = number
        self.num_threads = workload.num_threads
        self.outstanding = 0
        """Requests that wait or are answered just now."""
        self._ends = ends
        self._machine = machine
        self._samples = workload.samples
        self._sample_s, self._call_s = workload.sample_s, workload.call_s
        self._spread = workload.spread
        self._random = Random(number)
        self._most = workload.max_batch_size // workload.samples
        self._is_bounded = workload.latency_target_s is not None
        self._pace = Pace()
        for size in PACE_LEARNT_AT:
            self._pace.learn(size, workload.duration_s(size))
        self._admission = Admission(workload.limits, self._pace, clock)
        self._queue: list[tuple[int, _Ingress]] = []
        self._head = 0
        """Of the queue, the first that waits; those before it have been taken."""
        self._batch: list[tuple[int, _Ingress]] = []
        self._began_s = 0.0

    def submit(self, request: int, ingress: "_Ingress") -> bool:
        """Take the request, or refuse it."""
        try:
            self._admission.check(self._samples, self._samples)
        except OverloadedError:
            return False
        self._admission.add(self._samples, self._samples)
        self.outstanding += 1
        self._queue.append((request, ingress))
        return True

    def begin(self, now_s: float) -> None:
        """Take what waits, up to a batch, and call the model."""
        num = min(self._most, len(self._queue) - self._head)
        if self._is_bounded:
            num = min(num, max(1, int(min(num * self._samples, self._admission.most_work()) // self._samples)))
        self._batch = self._queue[self._head : self._head + num]
        self._head += num
        work = num * self._samples
        for _ in range(num):
            self._admission.remove(self._samples, self._samples)
        if self._is_bounded:
            self._admission.begin(work)
        self._began_s = now_s
        duration_s = self._sample_s * work + self._call_s
        if self._spread:
            duration_s *= self._random.choice(_of_size(self._spread, work))
        self._machine.begin_call(self, duration_s, now_s)

    def end(self, now_s: float) -> None:
        """Answer the batch at hand and go on with the next."""
        for request, ingress in self._batch:
            self._ends[request] = now_s
            ingress.has_answered(self)
        num = len(self._batch)
        self.outstanding -= num
        if self._is_bounded:  # nobody asks for the pace otherwise
            self._pace.learn(num * self._samples, now_s - self._began_s)
        if self._head < len(self._queue):
            self.begin(now_s)
        else:
            self._queue.clear()
            self._head = 0
            self._admission.rest()


class _Ingress:
    """What one ingress knows of a model's replicas: how many of its own requests each has under way."""

    def __init__(self, replicas: Sequence[_Replica], random: Random | None) -> None:
        """`random` mixes the order in which it first asks them; else that is theirs."""
        self._replicas = replicas
        order = list(range(len(replicas)))
        if random:
            random.shuffle(order)
        self._counts = [0] * len(replicas)
        self._asked = [place - len(replicas) for place in order]
        """When each was last asked, in requests."""
        self._turns = count()
        self._least = [(0, asked, number) for number, asked in enumerate(self._asked)]
        """By requests under way, and of as many by when it was asked; with entries that are no longer true."""
        heapify(self._least)

    def chosen(self) -> _Replica:
        """The one with the fewest requests under way; of several such, the one that was not asked for longest."""
        while True:
            outstanding, asked, number = heappop(self._least)
            if outstanding == self._counts[number] and asked == self._asked[number]:
                return self._replicas[number]

    def has_asked(self, replica: _Replica, *, is_taken: bool) -> None:
        """The one that was chosen has taken the request, or refused it."""
        self._asked[replica.number] = next(self._turns)
        self._counts[replica.number] += is_taken
        self._note(replica.number)

    def has_answered(self, replica: _Replica) -> None:
        """It has answered one of this ingress' requests."""
        self._counts[replica.number] -= 1
        self._note(replica.number)

    def _note(self, number: int) -> None:
        heappush(self._least, (self._counts[number], self._asked[number], number))


def _of_size(spread: Spread, size: int) -> Sequence[float]:
    """What was measured with the next larger size, or with the largest."""
    return spread[min(bisect_left(spread, size, key=lambda each: each[0]), len(spread) - 1)][1]


def _overhead_s(workload: Workload, num: int, seed: int) -> NDArray[np.float64]:
    """Seconds that each request takes outside of its replica."""
    if not workload.overhead_s:
        return np.zeros(num)
    return np.random.default_rng(seed).choice(np.asarray(workload.overhead_s), num)


def _hosts(machines: Sequence[_Machine], on: Sequence[int]) -> Iterator[_Machine]:
    """The machine of each replica, where so many are on each."""
    for machine, number in zip(machines, on, strict=True):
        yield from repeat(machine, number)


def _merged(arrivals: Sequence[Times]) -> Iterator[tuple[float, int, int]]:
    """Arrivals of all models in the order of time: seconds, model, number of the request within its model."""
    times = np.concatenate(arrivals)
    models = np.repeat(np.arange(len(arrivals)), [len(each) for each in arrivals])
    numbers = np.concatenate([np.arange(len(each)) for each in arrivals])
    order = np.argsort(times, kind="stable")
    return zip(times[order].tolist(), models[order].tolist(), numbers[order].tolist(), strict=True)
