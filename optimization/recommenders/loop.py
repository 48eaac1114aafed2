"""What a worker does, step by step: the next rows are fetched while it computes, gradients are pushed behind its back.

    wait ─▶ rows(step + 1) ─┐
                            ├─ compute(step) ─▶ push(step) ─▶ acknowledge(step)
    rows(step) ─────────────┘

Nothing here knows Ray, or where the table lies.
"""

import asyncio
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from optimization.chance import generator
from optimization.recommenders import network as networks
from optimization.recommenders.examples import Examples
from optimization.recommenders.network import Gradients, Recommender
from optimization.recommenders.recipe import Pushing
from optimization.recommenders.table import Layout, Rows, Table


class SharedClock(Protocol):
    """The clock of all workers, as one of them calls it."""

    async def next_step(self, worker: int) -> int:
        """Where it begins."""

    async def wait(self, step: int) -> None:
        """Until `step` may begin."""

    async def acknowledge(self, worker: int, step: int, loss: float | None) -> None:
        """The step is in every copy."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """The steps of one worker; in each epoch all workers together take every example once."""

    examples: Examples
    training: Pushing
    worker: int
    num_workers: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """The same for each worker; the last may have fewer examples, or none."""
        return -(-len(self.examples) // (self.training.batch_size * self.num_workers))

    def batch(self, step: int) -> Examples:
        """The examples of a step: equal calls give equal ones."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order = _order(self.seed, epoch, len(self.examples))
        begin = (within * self.num_workers + self.worker) * self.training.batch_size
        return self.examples.take(order[begin : begin + self.training.batch_size])


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, num: int) -> NDArray[np.int64]:
    return generator(seed, "order", epoch).permutation(num)


@dataclass(frozen=True, kw_only=True)
class _Fetched:
    ids: NDArray[np.int64]
    """Of columns' rows, each once."""
    places: NDArray[np.int64]
    labels: NDArray[np.int64]
    rows: Rows
    """Of `ids`, and after them of the network's weights."""


class Worker:
    """One of several that train a table."""

    def __init__(
        self, share: Share, network: Recommender, table: Table, layout: Layout, clock: SharedClock, run: int
    ) -> None:
        """`run` tells the pushes of this training from all others."""
        self._share = share
        self._network = network
        self._table = table
        self._layout = layout
        self._clock = clock
        self._run = run

    async def work(self) -> None:
        """Take all steps that are left."""
        training = self._share.training
        first = await self._clock.next_step(self._share.worker)
        end = training.epochs * self._share.steps_per_epoch
        async with asyncio.TaskGroup() as group:
            upcoming = group.create_task(self._fetch(first)) if first < end else None
            for step in range(first, end):
                assert upcoming is not None, "there is a step"
                fetched = await upcoming
                upcoming = group.create_task(self._fetch(step + 1)) if step + 1 < end else None
                found = await asyncio.to_thread(self._compute, fetched) if fetched is not None else None
                group.create_task(self._push(step, fetched, found))

    async def _fetch(self, step: int) -> _Fetched | None:
        """What a step needs; nothing where it has no examples."""
        await self._clock.wait(step)
        batch = self._share.batch(step)
        if not len(batch):
            return None
        each, inverse = np.unique(batch.ids + self._layout.begins, return_inverse=True)
        rows = await self._table.rows(np.concatenate([each, self._layout.weights]))
        return _Fetched(ids=each, places=inverse.reshape(batch.ids.shape), labels=batch.labels, rows=rows)

    def _compute(self, fetched: _Fetched) -> Gradients:
        num_rows = len(fetched.ids)
        networks.load(self._network, fetched.rows[num_rows:].ravel()[: self._layout.num_weights])
        return networks.gradients(self._network, fetched.rows[:num_rows], fetched.places, fetched.labels)

    async def _push(self, step: int, fetched: _Fetched | None, found: Gradients | None) -> None:
        """A worker that begins anew pushes the same step by the same token, so that it is not done twice."""
        if fetched is not None and found is not None:
            training = self._share.training
            token = (self._run << 64) | (self._share.worker << 48) | step
            await self._table.push(
                token,
                np.concatenate([fetched.ids, self._layout.weights]),
                np.concatenate([found.rows, self._layout.as_rows(found.weights)]),
                optimizer=training.optimizer,
                learning_rate=training.learning_rate,
            )
        await self._clock.acknowledge(self._share.worker, step, None if found is None else found.loss)
