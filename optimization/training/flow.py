"""A worker's share of streamed examples, through Ray Data; other workers get the others.

Parquet files, in another order each time ─▶ equal shares ─▶ buffer, shuffled ─▶ this worker's part of each batch
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray import cloudpickle

from optimization import chance
from optimization.readers import streaming
from optimization.readers.examples import Split, Stream
from optimization.readers.streaming import Columns
from optimization.training.batches import num_batches
from optimization.training.loop import Place

_AT_ONCE = 1024
_BUFFERED, _BUFFERED_BYTES = 4096, 2**25
"""Examples that are shuffled together, at most so many and of so many bytes."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One worker's share of a stream, for each epoch anew; all workers must go through it together."""

    stream: Stream
    place: Place
    share: Any
    """Ray Data's iterator."""
    others: Any = None
    """What feeds the other workers, as long as the first one keeps it."""

    def __len__(self) -> int:
        return len(self.stream)

    def parts(self, batch_size: int, seed: int) -> Iterator[Split]:
        """This worker's part of each batch of one epoch; together the workers' parts make the whole batch.

        Each example comes once. Where the workers' shares of the stream do not make the last batch whole, those that
        lack an example repeat one.
        """
        size = min(batch_size, len(self))
        buffered = max(1, min(_BUFFERED, _BUFFERED_BYTES // self.stream.example_bytes))
        blocks: Iterator[Columns] = iter(
            self.share.iter_batches(
                batch_size=min(buffered, _AT_ONCE),
                batch_format="numpy",
                local_shuffle_buffer_size=buffered,
                local_shuffle_seed=seed,
            )
        )
        given = held = next(blocks)
        for number in range(num_batches(len(self), batch_size)):
            wanted = _num_of(self.place, number * size, size)
            while _length(held) < wanted and (block := next(blocks, None)) is not None:
                held = _joined(held, block)
            if _length(held) < wanted:
                held = _joined(held, given)
            given = {name: values[:wanted] for name, values in held.items()}
            held = {name: values[wanted:] for name, values in held.items()}
            yield streaming.split(given)
        for _ in blocks:
            pass  # the others wait until all of the stream is taken


def flow(stream: Stream, seed: int, place: Place) -> Flow:
    """This worker's share of the stream; all workers must ask for theirs at the same time.

    `ray.train.get_dataset_shard` gives the like, but that is bound to a run, which here serves many jobs.
    """
    is_first = place.rank == 0
    shares = []
    if is_first:
        opened = streaming.opened(stream, chance.number(seed, "files"))
        shares = opened.streaming_split(place.world, equal=True)
    if place.world == 1:
        return Flow(stream=stream, place=place, share=shares[0])
    packed = [cloudpickle.dumps(shares)]  # type: ignore[no-untyped-call]
    torch.distributed.broadcast_object_list(packed)
    return Flow(stream=stream, place=place, share=cloudpickle.loads(packed[0])[place.rank], others=shares)


def _num_of(place: Place, first: int, size: int) -> int:
    """How many of the examples `first`, ..., `first + size - 1` are this worker's, which take turns."""
    return len(range((place.rank - first) % place.world, size, place.world))


def _joined(one: Columns, other: Columns) -> Columns:
    return {name: np.concatenate([values, other[name]]) for name, values in one.items()}


def _length(columns: Columns) -> int:
    return len(columns["label"])
