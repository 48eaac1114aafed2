"""Batches the requests that wait while the model is busy.

    submit -> queue -> as many as fit -> one call of the model -> each request its rows

Nothing waits for a batch to fill: an idle model takes what is there, and while it works the next batch gathers. So
batches grow with the load and a lone request pays nothing (the "greedy" policy of Clipper, Crankshaw 2017, NSDI).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from deployments.errors import RequestError, UnavailableError
from deployments.tensors import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A request's outputs and where its time went, in nanoseconds since the epoch."""

    outputs: dict[str, Array]
    submitted_ns: int
    started_ns: int
    ended_ns: int


@dataclass(frozen=True, kw_only=True)
class BatchDone:
    """What one call of the model was, for telemetry."""

    num_samples: int
    duration_s: float


@dataclass(kw_only=True, eq=False)
class _Waiting:
    inputs: Mapping[str, Array]
    rows: int
    answer: asyncio.Future[Prediction]
    submitted_ns: int = field(default_factory=time.time_ns)

    def stacks_with(self, other: "_Waiting") -> bool:
        """Whether the two differ in the batch dimension alone."""
        return all(array.shape[1:] == other.inputs[name].shape[1:] for name, array in self.inputs.items())


class Batcher:
    """Calls `run` with up to `max_batch_size` rows at a time; every input's first dimension is the batch.

    With `max_batch_size` 1 each request is a call of its own, whatever its shapes. `inline` calls `run` in the event
    loop: right for a model so quick that handing it to a thread would take longer than the work.
    """

    def __init__(self, run: Run, *, max_batch_size: int, inline: bool, report: Callable[[BatchDone], None]) -> None:
        self._run = run
        self._inline = inline
        self._max_batch_size = max_batch_size
        self._report = report
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take batches; needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._loop())

    async def stop(self) -> None:
        """Finish the batch at hand and refuse the requests that wait."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._wake.set()
        await task
        for waiting in self._queue:
            if not waiting.answer.done():
                waiting.answer.set_exception(UnavailableError("the replica is shutting down: send the request again"))
        self._queue.clear()
        self._thread.shutdown()

    async def submit(self, inputs: Mapping[str, Array]) -> Prediction:
        """Outputs for `inputs`, from the next batch they fit in.

        Raises:
            RequestError: there are more rows than a batch may have, or inputs differ in their number of rows.
            UnavailableError: the batcher is stopping.
        """
        if self._task is None:
            raise UnavailableError("the replica is not taking requests: send the request again")
        waiting = _Waiting(inputs=inputs, rows=self._rows(inputs), answer=asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wake.set()
        return await waiting.answer

    def _rows(self, inputs: Mapping[str, Array]) -> int:
        if self._max_batch_size == 1:
            return 1
        rows = {len(array) for array in inputs.values()}
        if len(rows) != 1:
            raise RequestError(f"all inputs must have the same batch size, got {sorted(rows)}")
        (count,) = rows
        if count > self._max_batch_size:
            raise RequestError(f"the batch size must be at most {self._max_batch_size}, got {count}: split the request")
        return count

    async def _loop(self) -> None:
        while self._task:
            await self._wake.wait()
            await asyncio.sleep(0)  # let every request that has arrived by now join
            batch = self._take()
            if batch:
                await self._answer(batch)
            if not self._queue and self._task:
                self._wake.clear()

    def _take(self) -> list[_Waiting]:
        """The oldest request and those behind it that stack with it, up to the largest batch."""
        batch: list[_Waiting] = []
        kept: list[_Waiting] = []
        rows = 0
        while self._queue and rows < self._max_batch_size:
            waiting = self._queue.popleft()
            if waiting.answer.done():  # its client has gone
                continue
            if not batch or (rows + waiting.rows <= self._max_batch_size and batch[0].stacks_with(waiting)):
                batch.append(waiting)
                rows += waiting.rows
            else:
                kept.append(waiting)
        self._queue.extendleft(reversed(kept))
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        started_ns = time.time_ns()
        try:
            outputs = await self._call(_stack(batch))
        except Exception as error:  # noqa: BLE001 - whatever the model raises belongs to its requests
            if len(batch) > 1:  # a bad request must fail alone
                for waiting in batch:
                    await self._answer([waiting])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        ended_ns = time.time_ns()
        at = 0
        for waiting in batch:
            if not waiting.answer.done():
                rows = slice(at, at + waiting.rows)
                own = outputs if len(batch) == 1 else {name: array[rows] for name, array in outputs.items()}
                waiting.answer.set_result(
                    Prediction(outputs=own, submitted_ns=waiting.submitted_ns, started_ns=started_ns, ended_ns=ended_ns)
                )
            at += waiting.rows
        self._report(BatchDone(num_samples=at, duration_s=(ended_ns - started_ns) / 1e9))

    async def _call(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._inline:
            return self._run(inputs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, inputs)


def _stack(batch: list[_Waiting]) -> Mapping[str, Array]:
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([waiting.inputs[name] for waiting in batch]) for name in batch[0].inputs}
