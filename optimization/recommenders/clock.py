"""Bounded delay (Li 2014, OSDI): no worker begins a step while one `max_delay` steps before is not acknowledged of all.

    worker: wait(step) ─▶ rows ─▶ gradients ─▶ push ─▶ acknowledge(step)          driver: passed(step) ─▶ open(gate)

So the rows that a step sees have every gradient of the steps that lie further back. The gate is where all stop, to
be looked at or kept as one state. Knows nothing of Ray; `workers` makes it an actor.
"""

import asyncio


class Clock:
    """How far each worker is."""

    def __init__(self, num_workers: int, *, max_delay: int, begin: int = 0) -> None:
        """All steps before `begin` are done."""
        self._max_delay = max_delay
        self._done = [begin] * num_workers
        """Of each worker, the first step that is not acknowledged."""
        self._early: list[set[int]] = [set() for _ in range(num_workers)]
        """Later ones that are."""
        self._gate = begin
        self._losses: list[float] = []
        self._changed = asyncio.Condition()

    async def next_step(self, worker: int) -> int:
        """Where a worker begins, or one that takes its place: all before is done."""
        return self._done[worker]

    async def wait(self, step: int) -> None:
        """Until `step` may begin."""
        async with self._changed:
            await self._changed.wait_for(lambda: step < self._gate and step - self._max_delay <= min(self._done))

    async def acknowledge(self, worker: int, step: int, loss: float | None) -> None:
        """Every copy of every row has what `worker` found in `step`; of no interactions there is no loss."""
        async with self._changed:
            early = self._early[worker]
            if step < self._done[worker] or step in early:
                return  # one that took its place has done it again, which changed nothing
            early.add(step)
            while self._done[worker] in early:
                early.remove(self._done[worker])
                self._done[worker] += 1
            if loss is not None:
                self._losses.append(loss)
            self._changed.notify_all()

    async def passed(self, step: int) -> float:
        """Wait until all steps before `step` are acknowledged; the mean loss since the last time."""
        async with self._changed:
            await self._changed.wait_for(lambda: min(self._done) >= step)
            losses, self._losses = self._losses, []
            return sum(losses) / len(losses) if losses else float("nan")

    async def open(self, gate: int) -> None:
        """Let all go on until `gate`."""
        async with self._changed:
            self._gate = gate
            self._changed.notify_all()
