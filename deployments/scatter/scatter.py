"""One large request, its rows shared out over the replicas of its model, computed side by side, gathered in order.

    rows -> whoever is free takes the next part: half of its fair share of what is left, whole batches
         -> answered, here or elsewhere; what came back unanswered another takes -> all rows in their order

Shares go by the pace that each replica has shown, large parts first and small ones last, so that all end together
however fast each of them is ("factoring", Hummel, Schonberg and Flynn 1992, CACM 35(8)). Knows no Ray:
`deployments.scatter.remote` finds the other replicas and asks them.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deployments.batching.calls import Outputs
from deployments.batching.parts import joined
from deployments.batching.waiting import Inputs
from deployments.errors import UnavailableError
from deployments.execution.awaiting import together, within
from deployments.execution.prediction import Prediction
from deployments.oip.urgency import Urgency
from deployments.scatter.part import LostError, Part, Replica, UnansweredError
from telemetry import conventions
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.trace import Asked

logger = logging.getLogger(__name__)

WORTHWHILE_S = 0.05
"""What this replica does in less time stays here: to ask another costs some milliseconds."""
REST_S = 5.0
"""A replica that did not answer a part is not asked for so long."""
MEMORY = 0.5
"""How much of a replica's pace is what was known before its last part."""
HERE = "here"

Others = Callable[[str], Awaitable[Sequence[Replica]]]
"""The other replicas of the model that hold a version."""
Compute = Callable[[Inputs, Urgency], Awaitable[Outputs]]


class Scatter:
    """Shares out the large requests that one version of a model gets in this replica; belongs to one event loop."""

    def __init__(
        self,
        others: Others,
        *,
        version: str,
        from_rows: int,
        batch_rows: int,
        emitter: Emitter,
        worthwhile_s: float = WORTHWHILE_S,
    ) -> None:
        """Requests of `from_rows` and more are shared out where they are also more than one call of `batch_rows`."""
        self._others = others
        self._version = version
        self._from_rows = max(from_rows, batch_rows + 1)
        self._batch_rows = batch_rows
        self._worthwhile_s = worthwhile_s
        self._parts = emitter.counter(conventions.SCATTER_PARTS)
        self._attributes: Attributes = ((conventions.MODEL_VERSION, version),)
        self._paces: dict[str, float] = {}
        self._rests_until_s: dict[str, float] = {}

    def is_large(self, inputs: Inputs) -> bool:
        """Whether `inputs` have so many rows that sharing them out may be worth it."""
        for array in inputs.values():
            return array.ndim > 0 and array.shape[0] >= self._from_rows
        return False

    async def gather(
        self, inputs: Inputs, rows: int, urgency: Urgency, *, here: Compute, alone_s: float
    ) -> Prediction | None:
        """Outputs for all `rows` of `inputs`, in order; none where it is better done by this replica alone, which would
        take `alone_s`. `here` computes a part in this replica.

        Raises:
            DeadlineError: the time that `urgency` gives has passed.
            UnavailableError: a second replica went while it had the same rows.
            UnlikePartsError: the parts' outputs cannot be put together.
        """
        if alone_s < self._worthwhile_s:
            return None
        replicas = await self._awake(most=math.ceil(rows / self._batch_rows) - 1)
        if not replicas:
            return None
        computing = {HERE: here} | {each.name: self._asking(each) for each in replicas}
        request = _Request(
            inputs=inputs,
            rows=rows,
            urgency=urgency,
            paces=self._paces,
            batch_rows=self._batch_rows,
            at_work=set(computing),
        )
        return await request.finished([self._work(request, name, compute) for name, compute in computing.items()])

    async def _awake(self, most: int) -> list[Replica]:
        """At most so many of the others, without those that lately did not answer; none while they cannot be found."""
        now_s = time.monotonic()
        self._rests_until_s = {name: until_s for name, until_s in self._rests_until_s.items() if until_s > now_s}
        try:
            others = await self._others(self._version)
        except Exception:
            logger.exception("the other replicas cannot be found: a large request is answered by this one alone")
            return []
        for name in self._paces.keys() - {each.name for each in others} - {HERE}:
            del self._paces[name]
        awake = [each for each in others if each.name not in self._rests_until_s]
        return random.sample(awake, most) if len(awake) > most else awake

    def _asking(self, replica: Replica) -> Compute:
        async def ask(inputs: Inputs, urgency: Urgency) -> Outputs:
            with Asked("ask another replica") as asked:
                part = Part(version=self._version, inputs=inputs, urgency=urgency, trace=asked.passed)
                return await replica.answer(part)

        return ask

    async def _work(self, request: "_Request", name: str, compute: Compute) -> None:
        """Have one replica answer part after part, until all are answered or it fails."""
        place = (*self._attributes, (conventions.PLACE, HERE if name == HERE else "elsewhere"))
        while (taken := await request.take(name)) is not None:
            began_s = time.perf_counter()
            try:
                outputs = await compute(*request.part(taken.rows))
            except UnansweredError as error:
                self._parts.add(1, (*place, (conventions.ERROR_TYPE, type(error).__name__)))
                logger.warning("%d rows go to another replica, %s did not answer: %s", len(taken.rows), name, error)
                self._rests_until_s[name] = time.monotonic() + REST_S
                request.put_back(name, taken, error)
                return
            self._parts.add(1, place)
            self._learn(name, len(taken.rows) / max(1e-6, time.perf_counter() - began_s))
            request.put_down(taken, outputs)

    def _learn(self, name: str, rows_per_s: float) -> None:
        before = self._paces.get(name, rows_per_s)
        self._paces[name] = MEMORY * before + (1 - MEMORY) * rows_per_s


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """Rows that a replica has."""

    rows: range
    was_lost: bool = False
    """Whether another replica went while it had them."""


@dataclass(kw_only=True, eq=False)
class _Request:
    """What is left of a request, what is under way and what is answered."""

    inputs: Inputs
    rows: int
    urgency: Urgency
    paces: dict[str, float]
    """Rows a second, by replica, as far as known; learned meanwhile."""
    batch_rows: int
    at_work: set[str]
    """The replicas that take parts."""

    def __post_init__(self) -> None:
        self._left = [_Taken(rows=range(self.rows))]
        self._under_way = 0
        self._answers: dict[int, Outputs] = {}
        self._moved = asyncio.Event()
        self._submitted_ns = time.time_ns()
        self._ends_s = None if self.urgency.timeout_s is None else time.monotonic() + self.urgency.timeout_s

    async def take(self, name: str) -> _Taken | None:
        """The next rows for that replica, once there are some; none when all are answered."""
        while not self._left:
            if not self._under_way:
                return None
            self._moved.clear()
            await self._moved.wait()
        first = self._left[0]
        most = min(self._share(name), len(first.rows))
        taken, rest = replace(first, rows=first.rows[:most]), replace(first, rows=first.rows[most:])
        self._left[:1] = [rest] if rest.rows else []
        self._under_way += 1
        return taken

    def part(self, rows: range) -> tuple[Inputs, Urgency]:
        """Inputs of those rows, and the time that is left for them."""
        left_s = None if self._ends_s is None else max(0.0, self._ends_s - time.monotonic())
        inputs = {name: array[rows.start : rows.stop] for name, array in self.inputs.items()}
        return inputs, replace(self.urgency, timeout_s=left_s)

    def put_down(self, taken: _Taken, outputs: Outputs) -> None:
        """The rows are answered."""
        self._answers[taken.rows.start] = outputs
        self._end()

    def put_back(self, name: str, taken: _Taken, error: UnansweredError) -> None:
        """The replica did not answer its rows and takes no more; others may have them.

        Raises:
            UnavailableError: they were lost before: what two replicas did not survive, a third shall not try.
        """
        if taken.was_lost and isinstance(error, LostError):
            raise UnavailableError(
                f"two replicas went while they had rows {taken.rows.start} to {taken.rows.stop - 1} of the request: "
                "send it again, in smaller ones"
            ) from error
        self.at_work.discard(name)
        self._left.insert(0, replace(taken, was_lost=taken.was_lost or isinstance(error, LostError)))
        self._end()

    async def finished(self, workers: Sequence[Coroutine[Any, Any, None]]) -> Prediction:
        """All rows in their order, once `workers` have them; whatever ends this ends them."""
        async with within(self.urgency.timeout_s):
            await together(workers)
        ordered = [Prediction(outputs=self._answers[begin]) for begin in sorted(self._answers)]
        whole = joined(ordered)
        return replace(whole, submitted_ns=self._submitted_ns, started_ns=self._submitted_ns, ended_ns=time.time_ns())

    def _share(self, name: str) -> int:
        """Half of what that replica should do of all that is left, in whole batches, at least one."""
        left = sum(len(each.rows) for each in self._left)
        known = [self.paces[each] for each in self.at_work if each in self.paces]
        usual = sum(known) / len(known) if known else 1.0
        total = sum(self.paces.get(each, usual) for each in self.at_work)
        fair = left * self.paces.get(name, usual) / total
        return max(1, round(fair / 2 / self.batch_rows)) * self.batch_rows

    def _end(self) -> None:
        self._under_way -= 1
        self._moved.set()
