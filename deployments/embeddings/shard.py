"""One shard: its rows, and its part in keeping two copies of each. All of it belongs to one event loop.

    change -> primary: apply -> every other copy: merge -> acknowledged

A change that not every copy has is not acknowledged; its sender tries again, with the same token, until one view holds
for all. Versions make it safe that rows arrive twice or in another order, tokens that a request does.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from deployments.embeddings import snapshot
from deployments.embeddings.adagrad import SquareSums, Sums
from deployments.embeddings.changes import ChangeLog, Position, Tokens
from deployments.embeddings.initial import Part
from deployments.embeddings.memory import Address
from deployments.embeddings.meters import ShardMeter
from deployments.embeddings.owners import NOBODY, NUM_BUCKETS, Buckets, Ids, bucket_of
from deployments.embeddings.snapshot import PartFile
from deployments.embeddings.table import Rows, Table, Values, Versions
from deployments.embeddings.view import StaleViewError, View
from telemetry.emitting.trace import Passed

Parts = Callable[[Buckets, str | None], Iterator[Part]]

Optimizer = Literal["sgd", "adagrad"]
Kind = Literal["set", "add"] | Optimizer
"""What is done to rows; optimizers take gradients."""

COPY_BYTES = 8 * 2**20
"""About so much is sent in one message when buckets are copied."""


class Shards(Protocol):
    """How shards are called."""

    async def call(self, shard: int, method: str, *arguments: Any) -> Any:
        """What the method gives there.

        Raises:
            ShardGoneError: it does not answer any more.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What one request changes; no id comes twice."""

    token: int
    """Marks the request: however often it is sent, it is done once."""
    kind: Kind
    ids: Ids
    values: Values
    """Rows to set or to add, or gradients."""
    learning_rate: float = 0.0
    """Of gradients."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Rows, and where the shard's log stood."""

    values: Values
    position: Position
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What a reader that keeps rows must know."""

    changed: Ids | None
    """Rows that have changed; none for all of this shard."""
    position: Position
    epoch: int


class Shard:
    """Holds the buckets that its view says, and answers for them."""

    def __init__(
        self, number: int, table: Table, others: Shards, parts: Parts, meter: ShardMeter | None = None
    ) -> None:
        """`others` is how other shards are called; `parts` gives the rows of a snapshot, or the table's first ones;
        `meter` reports what is asked."""
        self.number = number
        self._meter = meter
        self.rows = Rows(table)
        self.view: View | None = None
        self._table = table
        self._others = others
        self._parts = parts
        self._log = ChangeLog(secrets.randbits(63))
        self._tokens = Tokens()
        self._sums = SquareSums(table)

    def adopt(self, view: View) -> None:
        """Go by `view` from now on, unless it is an older one; forget the rows that are not held by it."""
        if self.view and view.epoch <= self.view.epoch:
            return
        before = self.view.known_to(self.number) if self.view else np.empty(0, np.int64)
        self.view = view
        self.rows.hold(view.held_by(self.number), view.epoch)  # before any are forgotten: nobody may read those
        lost = np.setdiff1d(before, view.known_to(self.number))
        self.rows.forget(lost)
        self._sums.forget(lost)

    def current(self) -> View | None:
        """The view it goes by."""
        return self.view

    def address(self) -> Address:
        """Where processes of its node can read the rows themselves."""
        return self.rows.address()

    def lookup(self, ids: Ids, told: Passed | None = None) -> Found:
        """The rows of `ids`; `told` is the span that they are asked for under.

        Raises:
            StaleViewError: it does not hold them all.
        """
        if self._meter is None:
            return self._found(ids)
        with self._meter.lookup(len(ids), told):
            return self._found(ids)

    def _found(self, ids: Ids) -> Found:
        view = self._view()
        if not (view.holders[bucket_of(ids)] == self.number).any(axis=1).all():
            raise StaleViewError(f"shard {self.number} does not hold all of these rows in view {view.epoch}")
        return Found(values=self.rows.values(ids), position=self._log.position, epoch=view.epoch)

    def news(self, since: Position) -> News:
        """What has changed here since `since`."""
        return News(changed=self._log.since(since), position=self._log.position, epoch=self._view().epoch)

    async def change(self, change: Change) -> bool:
        """Change rows in every copy; once it says so, all of them have it.

        Raises:
            StaleViewError: it does not decide on all of these rows, or a second copy is being found.
            ShardGoneError: another copy has gone.
        """
        with self._meter.change() if self._meter else nullcontext():
            return await self._changed(change)

    async def _changed(self, change: Change) -> bool:
        view, buckets = self._view(), bucket_of(change.ids)
        copies = view.copies()[buckets]
        if not (view.primaries[buckets] == self.number).all():
            raise StaleViewError(f"shard {self.number} decides not on all of these rows in view {view.epoch}")
        if ((copies != NOBODY).sum(axis=1) < view.holders.shape[1]).any():
            raise StaleViewError(f"rows of shard {self.number} have too few copies in view {view.epoch}")
        self._apply(change, buckets, view.epoch)
        values, versions = self.rows.read(change.ids)
        sums = self._sums.read(change.ids)
        await asyncio.gather(
            *(
                self._send(other, change.token, (copies == other).any(axis=1), change.ids, values, versions, sums)
                for other in np.unique(copies).tolist()
                if other not in (NOBODY, self.number)
            )
        )
        return True

    def merge(
        self, sender: int, token: int, ids: Ids, values: Values, versions: Versions, sums: Sums | None = None
    ) -> None:
        """Take what the primary has changed.

        Raises:
            StaleViewError: `sender` is not the primary here, or this shard is no copy.
        """
        buckets = bucket_of(ids)
        self._check_copy(sender, buckets)
        newer = self.rows.merge(ids, values, versions)
        self._sums.take(ids[newer], _of(sums, newer))
        self._log.note(ids[newer])
        self._tokens.note(token, buckets)

    async def copy_to(self, other: int, buckets: Buckets) -> None:
        """Give `other` whole `buckets`; changes meanwhile reach it as well, as it is joining.

        Raises:
            StaleViewError: this shard has them not, or `other` does not join.
            ShardGoneError: `other` has gone.
        """
        for some in self._portions(buckets, COPY_BYTES):
            ids = self._ids_of(some)
            if not (self._view().primaries[some] == self.number).all():
                raise StaleViewError(f"shard {self.number} decides not on the buckets it is to copy")
            values, versions = self.rows.read(ids)
            sums = self._sums.read(ids)
            await self._others.call(
                other, "install", self.number, some, ids, values, versions, self._tokens.among(some), sums
            )

    def install(
        self,
        sender: int,
        buckets: Buckets,
        ids: Ids,
        values: Values,
        versions: Versions,
        tokens: dict[int, int],
        sums: Sums | None = None,
    ) -> None:
        """Take whole buckets of the primary.

        Raises:
            StaleViewError: `sender` is not the primary here, or this shard is no copy.
        """
        self._check_copy(sender, buckets)
        taken = self.rows.fill(ids, values, versions)
        self._sums.take(ids[taken], _of(sums, taken))
        self._tokens.merge(tokens)

    async def load(self, buckets: Buckets, source: str | None) -> None:
        """Take the rows of `buckets` from the snapshot `source`, or from where the table begins.

        Raises:
            SnapshotError: the snapshot cannot be read.
            SettingsError: the file that the table begins with cannot be.
        """
        wanted = np.zeros(NUM_BUCKETS, np.bool_)
        wanted[buckets] = True
        parts = self._parts(buckets, source)
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            ours = wanted[bucket_of(part.ids)]
            ids, versions = part.ids[ours], np.broadcast_to(part.versions, part.ids.shape)[ours]
            taken = self.rows.fill(ids, part.values[ours], versions)
            self._sums.take(ids[taken], _of(_of(part.sums, ours), taken))

    async def save(self, into: str, buckets: Buckets) -> list[PartFile]:
        """Write `buckets` as parts of the snapshot `into`.

        Raises:
            SnapshotError: they cannot be written.
        """
        written = []
        for number, some in enumerate(self._portions(buckets, snapshot.PART_BYTES)):
            ids = self._ids_of(some)
            rows = (*self.rows.read(ids), self._sums.read(ids))
            name = f"{self.number}-{number}.safetensors"
            written.append(await asyncio.to_thread(snapshot.write_part, into, name, self._table, some, *rows))
        return written

    def _portions(self, buckets: Buckets, size_bytes: int) -> Iterator[Buckets]:
        step = max(1, size_bytes // (self._table.bucket_rows * self._table.width * self.rows.itemsize))
        for begin in range(0, len(buckets), step):
            yield buckets[begin : begin + step]

    def _ids_of(self, buckets: Buckets) -> Ids:
        return np.concatenate([self._table.ids_of(bucket) for bucket in buckets.tolist()])

    def _apply(self, change: Change, buckets: Buckets, epoch: int) -> None:
        new = ~self._tokens.done(change.token)[buckets]
        if not new.any():
            return
        ids, values = change.ids[new], change.values[new]
        match change.kind:
            case "set":
                self.rows.set(ids, values, epoch)
            case "add":
                self.rows.add(ids, values, epoch)
            case "sgd":
                self.rows.add(ids, np.float32(-change.learning_rate) * values, epoch)
            case "adagrad":
                self.rows.add(ids, self._sums.step(ids, values, change.learning_rate), epoch)
        self._tokens.note(change.token, buckets[new])
        self._log.note(ids)

    async def _send(
        self,
        other: int,
        token: int,
        held: NDArray[np.bool_],
        ids: Ids,
        values: Values,
        versions: Versions,
        sums: Sums | None,
    ) -> None:
        told = (ids[held], values[held], versions[held], _of(sums, held))
        await self._others.call(other, "merge", self.number, token, *told)

    def _check_copy(self, sender: int, buckets: Buckets) -> None:
        view = self._view()
        if not (view.primaries[buckets] == sender).all():
            raise StaleViewError(f"shard {sender} decides not on these rows in view {view.epoch}")
        if not (view.copies()[buckets] == self.number).any(axis=1).all():
            raise StaleViewError(f"shard {self.number} has no copy of these rows in view {view.epoch}")

    def _view(self) -> View:
        if self.view is None:
            raise StaleViewError(f"shard {self.number} has no view yet")
        return self.view


def _of(sums: Sums | None, some: NDArray[np.bool_]) -> Sums | None:
    return None if sums is None else sums[some]
