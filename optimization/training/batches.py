"""Which examples come when: the order of each epoch, cut into batches and shared by the workers."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from optimization import chance
from optimization.readers.examples import Split
from optimization.training.job import Job

_BATCHES_SORTED = 50
"""Texts of this many batches are sorted by length together: the order stays random where lengths are alike."""


class Streamed(Protocol):
    """A worker's share of examples that do not lie in memory."""

    def __len__(self) -> int:
        """How many examples there are, over all workers."""

    def parts(self, batch_size: int, seed: int) -> Iterator[Split]:
        """This worker's part of each batch of one epoch."""


def num_batches(num_samples: int, batch_size: int) -> int:
    """Optimizer steps in one epoch: an incomplete last batch is left out, and shuffled in the next time."""
    return max(1, num_samples // batch_size)


def num_steps(job: Job, examples: Split) -> int:
    """Optimizer steps of the whole job, which learns from `examples` where they are not streamed."""
    if job.stream is not None:
        num = len(job.stream)
    elif job.soft is None and not job.repeats_labelled:
        num = len(examples.labelled_rows())
    else:
        num = len(examples)
    return job.training.epochs * num_batches(num, job.training.batch_size)


def parts(
    data: Split | Streamed, job: Job, epoch: int, rank: int, world: int
) -> Iterator[tuple[Split, NDArray[np.int64]]]:
    """This worker's rows of each batch of one epoch, and the examples they are rows of."""
    size, epoch = job.training.batch_size, job.first_epoch + epoch
    if isinstance(data, Split):
        random = chance.generator(job.seed, "order", epoch)
        rows = labelled_again(data, random) if job.repeats_labelled else np.arange(len(data))
        for mine in shards(data, rows, size, random, rank, world):
            yield data, mine
    else:
        for part in data.parts(size, chance.number(job.seed, "order", epoch)):
            yield part, np.arange(len(part))


def shards(
    split: Split, rows: NDArray[np.int64], batch_size: int, random: np.random.Generator, rank: int, world: int
) -> Iterator[NDArray[np.int64]]:
    """This worker's part of each batch of `rows`, in random order; together the workers' parts make the whole batch.

    Texts of about one length share a batch, so that little of it is padding.
    """
    order = random.permutation(rows)[: num_batches(len(rows), batch_size) * batch_size]
    starts = np.arange(0, len(order), batch_size)
    if split.lengths is not None:
        for start in range(0, len(order), batch_size * _BATCHES_SORTED):
            chunk = order[start : start + batch_size * _BATCHES_SORTED]
            order[start : start + len(chunk)] = chunk[np.argsort(split.lengths[chunk], kind="stable")]
        starts = random.permutation(starts)
    for first in starts:
        yield order[first : first + batch_size][rank::world]


def labelled_again(split: Split, random: np.random.Generator) -> NDArray[np.int64]:
    """As many rows as there are examples: the labelled ones, and some of them again in the place of the others."""
    labelled = split.labelled_rows()
    num_more = len(split) - len(labelled)
    times = -(-num_more // max(1, len(labelled)))
    again = np.concatenate([random.permutation(labelled) for _ in range(times)] or [labelled[:0]])
    return np.concatenate([labelled, again[:num_more]])
