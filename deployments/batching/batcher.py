"""Batches the requests that wait while the model is busy.

    submit -> queue, by priority -> as many as fit -> one call of the model -> each request its rows

Nothing waits for a batch to fill: an idle model takes what is there, and while it works the next batch gathers. So
batches grow with the load and a lone request pays nothing (the "greedy" policy of Clipper, Crankshaw 2017, NSDI).
A latency target bounds both: a batch takes at most half of it, and the queue is as long as the other half allows.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count

import numpy as np

from deployments.batching.pace import Pace
from deployments.batching.padding import Padding, alike
from deployments.errors import DeadlineError, OverloadedError, RequestError, UnavailableError
from deployments.execution.prediction import BatchDone, Prediction
from deployments.oip.tensors import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]


@dataclass(kw_only=True, eq=False, slots=True)
class _Waiting:
    inputs: Mapping[str, Array]
    rows: int
    length: int
    answer: asyncio.Future[Prediction]
    taken: bool = False
    submitted_ns: int = field(default_factory=time.time_ns)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    batch: list[_Waiting]
    outcome: dict[str, Array] | Exception
    started_ns: int
    stacked_ns: int
    ended_ns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a batcher may do."""

    max_batch_size: int
    """Most rows of one call; with 1, each request is a call of its own, whatever its shapes."""
    max_queue_size: int = 512
    """Most requests that wait; one more is refused."""
    latency_target_s: float | None = None
    """Within this much an admitted request shall be answered."""


class Batcher:
    """Calls `run` with up to `limits.max_batch_size` rows at a time; every input's first dimension is the batch.

    `inline` calls `run` in the event loop: right for a model so quick that handing it to a thread would take longer
    than the work. `pace` says how long a batch takes and learns it. With `padding`, sequences of about the same length
    share a batch. All methods belong to one event loop.
    """

    def __init__(
        self,
        run: Run,
        limits: Limits,
        *,
        inline: bool,
        report: Callable[[BatchDone], None],
        pace: Pace | None = None,
        padding: Padding | None = None,
    ) -> None:
        self._run = run
        self._limits = limits
        self._inline = inline
        self._report = report
        self._pace = pace or Pace()
        self._padding = padding
        self._queue: list[tuple[int, int, _Waiting]] = []
        self._numbers = count()
        self._num_waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Finish the batch at hand, refuse the requests that wait and let go of the model."""
        if self._loop is None:
            return
        self._loop = None
        for *_, waiting in self._queue:
            if not waiting.answer.done() and not waiting.taken:
                waiting.answer.set_exception(UnavailableError("the replica is shutting down: send the request again"))
        self._queue.clear()
        await self._idle.wait()
        self._thread.shutdown()
        del self._run  # this object lies in a cycle: else the model's memory would wait until Python looks for those

    def admit(self) -> None:
        """Refuse early, before a request's body costs anything, what `submit` would refuse.

        Raises:
            OverloadedError: as many requests wait as may.
            UnavailableError: the batcher is stopping.
        """
        if self._loop is None:
            raise UnavailableError("the replica is not taking requests: send the request again")
        if not self._num_waiting:
            return
        most = self._limits.max_queue_size
        target_s = self._limits.latency_target_s
        if target_s is not None:
            batch = self._most_rows()
            duration_s = self._pace.duration_s(batch)
            if duration_s:  # the batch at hand and those before this request shall end within the target
                most = min(most, max(batch, int(batch * (target_s / duration_s - 1))))
        if self._num_waiting >= most:
            drained_s = self._pace.duration_s(self._num_waiting)
            raise OverloadedError(f"{most} requests wait already: try again later", retry_after_s=drained_s)

    async def submit(
        self, inputs: Mapping[str, Array], *, priority: int = 0, timeout_s: float | None = None
    ) -> Prediction:
        """Outputs for `inputs`, from the next batch they fit in; a lower `priority` goes first.

        Raises:
            RequestError: there are more rows than a batch may have, or inputs differ in their number of rows.
            DeadlineError: `timeout_s` passed.
            OverloadedError: as many requests wait as may.
            UnavailableError: the batcher is stopping.
        """
        self.admit()
        loop = self._loop
        assert loop is not None
        waiting = _Waiting(
            inputs=inputs,
            rows=self._rows(inputs),
            length=self._padding.length(inputs) if self._padding else 1,
            answer=loop.create_future(),
        )
        heappush(self._queue, (priority, next(self._numbers), waiting))
        self._num_waiting += 1
        if not self._busy:
            self._busy = True
            self._idle.clear()
            loop.call_soon(self._turn)  # after the requests that have arrived by now
        timer = loop.call_later(timeout_s, _expire, waiting.answer, timeout_s) if timeout_s is not None else None
        try:
            return await waiting.answer
        finally:
            if timer:
                timer.cancel()
            if not waiting.taken:  # its client has gone, or its time is up
                self._forget(waiting)

    def _forget(self, waiting: _Waiting) -> None:
        waiting.taken = True
        self._num_waiting -= 1
        if len(self._queue) > 2 * self._num_waiting + 64:  # mostly forgotten ones
            self._queue = [entry for entry in self._queue if not entry[2].taken]
            heapify(self._queue)

    def _rows(self, inputs: Mapping[str, Array]) -> int:
        limit = self._limits.max_batch_size
        if limit == 1:
            return 1
        rows = {len(array) for array in inputs.values()}
        if len(rows) != 1:
            raise RequestError(f"all inputs must have the same batch size, got {sorted(rows)}")
        (number,) = rows
        if number > limit:
            raise RequestError(f"the batch size must be at most {limit}, got {number}: split the request")
        return number

    def _most_rows(self) -> int:
        """Rows of the largest batch that takes no more than half of the latency target; at least one."""
        target_s, limit = self._limits.latency_target_s, self._limits.max_batch_size
        if target_s is None:
            return limit
        return max(1, int(min(limit, self._pace.most_within(target_s / 2))))

    def _turn(self) -> None:
        """Take the next batch and have it run; without one, rest until the next request."""
        batch = self._take() if self._loop else []
        if not batch:
            self._busy = False
            self._idle.set()
        elif self._inline:
            self._end(batch[0].answer.get_loop(), self._call(batch))
        else:
            self._thread.submit(self._call_in_thread, batch)

    def _take(self) -> list[_Waiting]:
        """The first request and those behind it that stack with it, up to the largest batch."""
        batch: list[_Waiting] = []
        passed: list[tuple[int, int, _Waiting]] = []
        most, rows = self._most_rows(), 0
        while self._queue and rows < most and len(passed) < most:
            entry = heappop(self._queue)
            waiting = entry[2]
            if waiting.taken or waiting.answer.done():  # its client has gone, or its time is up
                continue
            if not batch or (rows + waiting.rows <= most and self._stack_up(batch[0], waiting)):
                batch.append(waiting)
                rows += waiting.rows
                waiting.taken = True
            else:
                passed.append(entry)
        for entry in passed:
            heappush(self._queue, entry)
        self._num_waiting -= len(batch)
        return batch

    def _stack_up(self, first: _Waiting, other: _Waiting) -> bool:
        """Whether the two differ in the batch dimension alone, and where there is padding, a little in length."""
        if first.inputs.keys() != other.inputs.keys() or not alike(first.length, other.length):
            return False
        padded = self._padding.inputs if self._padding else ()
        return all(
            array.shape[1:] == other.inputs[name].shape[1:]
            or (name in padded and array.shape[2:] == other.inputs[name].shape[2:])
            for name, array in first.inputs.items()
        )

    def _call_in_thread(self, batch: list[_Waiting]) -> None:
        calls = self._call(batch)
        loop = batch[0].answer.get_loop()
        loop.call_soon_threadsafe(self._end, loop, calls)

    def _call(self, batch: list[_Waiting]) -> list[_Call]:
        """Run `batch` in one call; where that fails, each half on its own, so that a bad request fails alone."""
        started_ns = stacked_ns = time.time_ns()
        outcome: dict[str, Array] | Exception
        try:
            inputs = self._stack(batch)
            stacked_ns = time.time_ns()
            outcome = self._run(inputs)
        except Exception as error:  # noqa: BLE001 - whatever the model raises belongs to its requests
            if len(batch) > 1:
                middle = len(batch) // 2
                return [*self._call(batch[:middle]), *self._call(batch[middle:])]
            outcome = error
        ended_ns = time.time_ns()
        return [_Call(batch=batch, outcome=outcome, started_ns=started_ns, stacked_ns=stacked_ns, ended_ns=ended_ns)]

    def _stack(self, batch: list[_Waiting]) -> Mapping[str, Array]:
        if len(batch) == 1:
            return batch[0].inputs
        stack = self._padding.stack if self._padding else _concatenate
        return {name: stack(name, [waiting.inputs[name] for waiting in batch]) for name in batch[0].inputs}

    def _end(self, loop: asyncio.AbstractEventLoop, calls: list[_Call]) -> None:
        """Answer the requests of `calls` and go on with the next batch: in a thread, it runs meanwhile."""
        if not self._inline:
            self._turn()
        for call in calls:
            self._answer(call)
        if self._inline:
            loop.call_soon(self._turn)

    def _answer(self, call: _Call) -> None:
        answering_ns = time.time_ns()
        rows = 0
        for waiting in call.batch:
            own = slice(rows, rows + waiting.rows)
            rows += waiting.rows
            if waiting.answer.done():  # its client has gone, or its time is up
                continue
            if isinstance(call.outcome, Exception):
                waiting.answer.set_exception(call.outcome)
                continue
            waiting.answer.set_result(
                Prediction(
                    outputs=call.outcome if len(call.batch) == 1 else self._own(call.outcome, own, waiting.length),
                    submitted_ns=waiting.submitted_ns,
                    started_ns=call.started_ns,
                    ended_ns=call.ended_ns,
                )
            )
        if isinstance(call.outcome, Exception):
            return
        duration_s = (call.ended_ns - call.started_ns) / 1e9
        self._pace.learn(rows, duration_s)
        self._report(
            BatchDone(
                num_samples=rows,
                duration_s=duration_s,
                input_s=(call.stacked_ns - call.started_ns) / 1e9,
                output_s=(time.time_ns() - answering_ns) / 1e9,
            )
        )

    def _own(self, outputs: Mapping[str, Array], own: slice, length: int) -> dict[str, Array]:
        if self._padding is None:
            return {name: array[own] for name, array in outputs.items()}
        return {name: self._padding.cut(name, array[own], length) for name, array in outputs.items()}


def _concatenate(_: str, arrays: Sequence[Array]) -> Array:
    return np.concatenate(arrays)


def _expire(answer: asyncio.Future[Prediction], timeout_s: float) -> None:
    if not answer.done():
        answer.set_exception(DeadlineError(f"the request was not answered within its {timeout_s:g} s"))
