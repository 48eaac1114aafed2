"""Batches the requests that wait while the model is busy.

    submit -> queue, by priority -> as many as fit -> one call of the model -> each request its rows

Nothing waits for a batch to fill: an idle model takes what is there, and while it works the next batch gathers. So
batches grow with the load and a lone request pays nothing (the "greedy" policy of Clipper, Crankshaw 2017, NSDI).
A latency target bounds both: a batch takes at most half of it, and the queue is as long as the other half allows.
A request that is larger than a call is answered by several, and others get their turn in between.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from deployments.batching.admission import Admission, Limits
from deployments.batching.calls import Done, NotByRowsError, Run, call
from deployments.batching.pace import Pace
from deployments.batching.padding import Padding
from deployments.batching.parts import UnlikePartsError, in_parts, parts_of
from deployments.batching.queue import Queue
from deployments.batching.waiting import Inputs, Waiting, expire, fail
from deployments.errors import RequestError, UnavailableError
from deployments.execution.prediction import BatchDone, Prediction

logger = logging.getLogger(__name__)


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
        self._is_batched = limits.is_batched
        self._has_target = limits.latency_target_s is not None
        self._admission = Admission(limits, self._pace)
        self._queue = Queue(limits, self._admission, padding)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def queue_share(self) -> float:
        """How much of the queue is taken."""
        return self._admission.num_waiting / self._limits.max_queue_size

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Finish the batch at hand, refuse the requests that wait and let go of the model."""
        if self._loop is None:
            return
        self._loop = None
        self._fail_all(UnavailableError("the replica is shutting down: send the request again"))
        await self._idle.wait()
        self._thread.shutdown()
        del self._run  # this object lies in a cycle: else the model's memory would wait until Python looks for those

    def admit(self) -> None:
        """Refuse early, before a request's body costs anything, what `submit` would refuse of a usual request.

        Raises:
            OverloadedError: as many requests wait as may.
            UnavailableError: the batcher is stopping.
        """
        self._running()
        self._admission.check()

    async def submit(self, inputs: Inputs, *, priority: int = 0, timeout_s: float | None = None) -> Prediction:
        """Outputs for `inputs`, from the next batch they fit in; a lower `priority` goes first.

        Raises:
            RequestError: there are more rows than a request may have, or inputs differ in their number of rows.
            DeadlineError: `timeout_s` passed.
            OverloadedError: as many requests wait as may, or it could not be answered within the latency target.
            UnavailableError: the batcher is stopping.
        """
        loop = self._running()
        rows = self._rows(inputs) if self._is_batched else 1
        length = self._length(inputs)
        self._admission.check(rows, rows * length)
        if rows > self._limits.max_batch_size:
            try:
                return await self._submit_parts(inputs, rows, length, priority, timeout_s)
            except (NotByRowsError, UnlikePartsError):
                pass  # then in one call, as the model itself puts it together
        waiting = self._enqueue(loop, inputs, rows, length, priority, timeout_s, is_alone=True)
        try:
            return await waiting.answer
        finally:
            if waiting.timer or not waiting.taken:
                self._let_go(waiting)

    def admit_rows(self, inputs: Inputs) -> int:
        """How many rows a request has; what it is refused for, `submit_part` then asks no more.

        Raises:
            RequestError: there are more rows than a request may have, or inputs differ in their number of rows.
            OverloadedError: as many requests wait as may, or it could not be answered within the latency target.
            UnavailableError: the batcher is stopping.
        """
        self._running()
        rows = self._rows(inputs) if self._is_batched else 1
        self._admission.check(rows, rows * self._length(inputs))
        return rows

    def seconds_for(self, rows: int, inputs: Inputs) -> float:
        """How long the model should take for so many rows, by its pace; 0 before it has been called."""
        return self._pace.duration_s(rows * self._length(inputs))

    async def submit_part(
        self, inputs: Inputs, rows: int, *, priority: int = 0, timeout_s: float | None = None
    ) -> Prediction:
        """Outputs for `rows` of a request that was admitted: as many as went in, whatever the number of calls.

        Raises:
            NotByRowsError, UnlikePartsError: outputs are not by rows.
            DeadlineError: `timeout_s` passed.
            UnavailableError: the batcher is stopping.
        """
        self._running()
        return await self._submit_parts(inputs, rows, self._length(inputs), priority, timeout_s)

    async def _submit_parts(
        self, inputs: Inputs, rows: int, length: int, priority: int, timeout_s: float | None
    ) -> Prediction:
        """The answer to a request that is larger than a call, in the order of its rows."""

        def enqueue(part: Inputs, part_rows: int, left_s: float | None) -> Waiting:
            return self._enqueue(self._running(), part, part_rows, length, priority, left_s)

        parts = parts_of(inputs, rows, self._limits.max_batch_size)
        return await in_parts(parts, enqueue=enqueue, let_go=self._let_go, timeout_s=timeout_s)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise UnavailableError("the replica is not taking requests: send the request again")
        return self._loop

    def _length(self, inputs: Inputs) -> int:
        return self._padding.length(inputs) if self._padding else 1

    def _rows(self, inputs: Inputs) -> int:
        found = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
        if len(found) != 1:
            raise RequestError(f"all inputs must have the same batch size, got {sorted(found)}")
        (rows,) = found
        most = self._limits.max_request_samples
        if self._padding and not self._padding.is_exact(inputs):
            most = self._limits.max_batch_size  # its outputs cannot be put together from several calls
        if rows > most:
            raise RequestError(f"the batch size must be at most {most}, got {rows}: split the request")
        return rows

    def _enqueue(
        self,
        loop: asyncio.AbstractEventLoop,
        inputs: Inputs,
        rows: int,
        length: int,
        priority: int,
        timeout_s: float | None,
        *,
        is_alone: bool = False,
    ) -> Waiting:
        waiting = Waiting(
            inputs=inputs,
            rows=rows,
            length=length,
            work=rows * length,
            answer=loop.create_future(),
            is_alone=is_alone,
        )
        self._queue.put(priority, waiting)
        if timeout_s is not None:
            waiting.timer = loop.call_later(timeout_s, expire, waiting, timeout_s)
        if not self._busy:
            self._busy = True
            self._idle.clear()
            loop.call_soon(self._turn)  # after the requests that have arrived by now
        return waiting

    def _let_go(self, waiting: Waiting) -> None:
        """Nobody waits for this answer any more: it is there, its client has gone, or its time is up."""
        if waiting.timer:
            waiting.timer.cancel()
        if not waiting.answer.cancel() and not waiting.answer.cancelled():
            waiting.answer.exception()  # looked at: else asyncio would complain that nobody did
        if not waiting.taken:
            self._queue.forget(waiting)

    def _fail_all(self, error: Exception) -> None:
        """Refuse whatever waits."""
        fail(self._queue.empty(), error)

    def _turn(self) -> None:
        """Take the next batch and have it run; without one, rest until the next request."""
        batch: list[Waiting] = []
        try:
            if self._loop:
                self._queue.take(batch, alone=not self._is_batched)
            if batch and not self._inline:
                self._thread.submit(self._call_in_thread, batch[0].answer.get_loop(), batch)
                return
        except Exception as error:  # an error of ours: nobody may wait for ever because of it
            logger.exception("the batcher failed")
            self._fail_all(error)
            fail(batch, error)
            batch = []
        if batch:
            self._end(batch[0].answer.get_loop(), call(self._run, batch, self._padding))
        else:
            if self._has_target:
                self._admission.rest()
            self._busy = False
            self._idle.set()

    def _call_in_thread(self, loop: asyncio.AbstractEventLoop, batch: list[Waiting]) -> None:
        loop.call_soon_threadsafe(self._end, loop, call(self._run, batch, self._padding))

    def _end(self, loop: asyncio.AbstractEventLoop, calls: list[Done]) -> None:
        """Answer the requests of `calls` and go on with the next batch: in a thread, it runs meanwhile."""
        for done in calls:
            if done.uneven and self._is_batched:
                self._is_batched = False
                logger.warning("requests are called one by one from now on: %s", done.uneven)
        if not self._inline:
            self._turn()
        for done in calls:
            try:
                self._answer(done)
            except Exception as error:
                logger.exception("a batch could not be answered or counted")
                fail(done.batch, error)
        if self._inline:
            loop.call_soon(self._turn)  # after those who were answered: what they ask next is in the next batch

    def _answer(self, done: Done) -> None:
        if isinstance(done.outcome, Exception):
            fail(done.batch, done.outcome)
            return
        counted = done.counted()
        for waiting, outputs in zip(done.batch, done.outcome, strict=True):
            if not waiting.answer.done():  # its client is still there
                waiting.answer.set_result(
                    Prediction(
                        outputs=outputs,
                        submitted_ns=waiting.submitted_ns,
                        started_ns=done.started_ns,
                        ended_ns=done.ended_ns,
                        call=counted,
                    )
                )
        self._pace.learn(done.work, counted.duration_s)
        self._report(counted)
