"""Examples as every step sees them: tensors by name, labels, and what a model of them needs to know."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization.artifact.manifest import Preprocessing
from optimization.measuring import measures
from optimization.measuring.measures import Measure
from optimization.tasks.classification import Classification
from optimization.tasks.task import UNLABELLED, LabelledTask

Inputs = dict[str, NDArray[Any]]
"""One batch, by tensor name in the order the model takes them; the first dimension counts the samples."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Examples: inputs whose first dimension counts the samples, and labels as the task has them.

    Pixels are kept as bytes, and given in batches as float32 in [0, 1].
    """

    inputs: Inputs
    labels: NDArray[Any]
    lengths: NDArray[np.int64] | None = None
    """Tokens of each sample, where inputs are padded along their second dimension; batches are cut to their longest."""
    texts: NDArray[np.object_] | None = None
    """What the token ids were made of."""
    pixels: frozenset[str] = frozenset()
    """Inputs of bytes that are brightnesses; other bytes, such as codes, are given as they are."""
    numbers: NDArray[np.int64] | None = None
    """What tells examples of a stream apart, where the rows of a batch do not."""
    groups: NDArray[np.float64] | None = None
    """What each example belongs with, by number, where such examples are not to be divided: candidates of one query."""
    answers: NDArray[np.float32] | None = None
    """The teacher's logits, where they come along in a stream."""

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: NDArray[np.int64]) -> Inputs:
        """The inputs of those rows, as the model takes them."""
        longest = None if self.lengths is None else max(1, int(self.lengths[rows].max()))
        return {name: self._served(name, values[rows], longest) for name, values in self.inputs.items()}

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.int64], Inputs]]:
        """All examples, with their rows; samples of one length come together."""
        order = np.arange(len(self)) if self.lengths is None else np.argsort(self.lengths, kind="stable")
        for start in range(0, len(self), size):
            rows = order[start : start + size]
            yield rows, self.batch(rows)

    def labelled_rows(self) -> NDArray[np.int64]:
        """Where the examples are that have a label."""
        if self.labels.dtype.kind == "f":
            return np.flatnonzero(~np.isnan(self.labels.reshape(len(self), -1)).any(axis=1))
        return np.flatnonzero((self.labels.reshape(len(self), -1) != UNLABELLED).any(axis=1))  # a text has many

    def labelled(self) -> "Split":
        """The examples that have a label."""
        rows = self.labelled_rows()
        return self if len(rows) == len(self) else self.take(rows)

    def take(self, rows: NDArray[np.int64]) -> "Split":
        """Those examples alone."""
        return Split(
            inputs={name: values[rows] for name, values in self.inputs.items()},
            labels=self.labels[rows],
            lengths=None if self.lengths is None else self.lengths[rows],
            texts=None if self.texts is None else self.texts[rows],
            pixels=self.pixels,
            numbers=None if self.numbers is None else self.numbers[rows],
            groups=None if self.groups is None else self.groups[rows],
            answers=None if self.answers is None else self.answers[rows],
        )

    def _served(self, name: str, values: NDArray[Any], longest: int | None) -> NDArray[Any]:
        if name in self.pixels:
            return values.astype(np.float32) / 255
        return values if longest is None or values.ndim == 1 else values[:, :longest]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Training examples in Parquet files, which are read anew in each epoch."""

    folder: Path
    """Where every node of the cluster finds them."""
    num: int
    example_bytes: int
    """What one takes in memory."""

    def __len__(self) -> int:
        return self.num


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to training pictures at random, anew in each epoch."""

    shift: int
    """Pixels a picture is moved at most."""
    flip: bool
    """Whether half of them are mirrored."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Examples that teach, that decide and that report, and what a model of them needs to know."""

    train: Split
    """What models learn from; where the examples are streamed, a sample of them."""
    validation: Split
    """What decides between models: trials that are stopped or chosen, weights that stay in fp32, INT8 or fp32."""
    held_out: Split
    """What every quality is reported on; nothing reads it before all has been decided."""
    labels: tuple[str, ...]
    """Names of the classes."""
    task: LabelledTask = field(default_factory=Classification)
    """What a model of it is for."""
    offset: NDArray[np.float32] | None = None
    """Subtracted from the one input, of a shape that broadcasts to a sample; then it is divided by `scale`."""
    scale: NDArray[np.float32] | None = None
    image: tuple[int, ...] | None = None
    """Channels and sides of a sample that is an image or a signal; the input itself may be flat."""
    augmentation: Augmentation | None = None
    chosen: Measure | None = None
    """What quality is, where it is not the task's usual measure."""
    preprocessing: Preprocessing | None = None
    """How raw input becomes the model's."""
    stream: Stream | None = None
    """All training examples, where they do not lie in memory."""
    files: dict[str, Path] = field(default_factory=dict)
    """What the preprocessing needs, by name inside the artifact."""

    @property
    def measure(self) -> Measure:
        """What quality is."""
        return self.chosen or measures.find(None, self.task)

    @property
    def num_features(self) -> int:
        """Numbers in one sample of the first input."""
        return int(np.prod(next(iter(self.train.inputs.values())).shape[1:]))

    @property
    def num_outputs(self) -> int:
        """Logits per sample."""
        return self.task.num_outputs(len(self.labels))


def in_order(found: Mapping[int, NDArray[Any]]) -> NDArray[Any]:
    """What was found of each row, in the order of the rows; what is shorter than another is filled up with zeros."""
    rows = [found[row] for row in range(len(found))]
    if len({each.shape for each in rows}) == 1:
        return np.stack(rows)
    filled = np.zeros((len(rows), *np.max([each.shape for each in rows], axis=0)), rows[0].dtype)
    for place, each in zip(filled, rows, strict=True):
        place[tuple(map(slice, each.shape))] = each
    return filled


def joined(batches: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """What was found of several batches, one after the other; filled up likewise."""
    if len({each.shape[1:] for each in batches}) == 1:
        return np.concatenate(batches)
    return in_order(dict(enumerate(row for each in batches for row in each)))


def dynamic_axes(split: Split) -> dict[str, dict[int, str]]:
    """Names of the dimensions that vary between calls, by tensor: the batch, and the sequence of texts."""
    padded = {0: "batch"} if split.lengths is None else {0: "batch", 1: "sequence"}
    return {name: padded if values.ndim > 1 else {0: "batch"} for name, values in split.inputs.items()}
