"""Brings the classes of data in the order of a model that came with classes of its own; they are matched by name."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from optimization.errors import DataError
from optimization.readers.examples import Dataset, Split
from optimization.tasks.task import UNLABELLED

_PLACEHOLDER = re.compile(r"^label_(\d+)$")
"""What transformers calls a class that nobody named, by its number."""


def reordered(dataset: Dataset, labels: Sequence[str]) -> Dataset:
    """The same examples with the classes `labels`, of which the data may lack some.

    Raises:
        DataError: the data have a class that is not among them, or are streamed in another order.
    """
    numbers = matched(dataset.labels, labels)
    if dataset.stream is not None and not np.array_equal(numbers, np.arange(len(numbers))):
        rule = f"data.stream must be false where the model has its classes in the order {list(labels)}"
        raise DataError(f"{rule}, got {list(dataset.labels)}")
    return replace(
        dataset,
        labels=tuple(labels),
        train=_moved(dataset.train, numbers, len(labels)),
        validation=_moved(dataset.validation, numbers, len(labels)),
        held_out=_moved(dataset.held_out, numbers, len(labels)),
    )


def matched(own: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """The number among `wanted` of each of `own`; case does not count, and LABEL_3 is 3.

    Raises:
        DataError: one of them is not among `wanted`, or names are ambiguous.
    """
    keys, others = ([key(name) for name in names] for names in (own, wanted))
    if len(set(others)) < len(others) or len(set(keys)) < len(keys) or not set(keys) <= set(others):
        raise DataError(f"the data's classes must be among the model's {list(wanted)}, got {list(own)}")
    return np.array([others.index(each) for each in keys], np.int64)


def key(name: str) -> str:
    """What names are compared by."""
    plain = name.strip().casefold()
    placeholder = _PLACEHOLDER.match(plain)
    return placeholder[1] if placeholder else plain


def _moved(split: Split, numbers: NDArray[np.int64], num: int) -> Split:
    """Labels of shape [samples] are numbers of classes; of [samples, labels], what each sample has of each."""
    if split.labels.ndim == 1:
        return replace(split, labels=np.where(split.labels == UNLABELLED, UNLABELLED, numbers[split.labels]))
    moved = np.where((split.labels == UNLABELLED).all(axis=1)[:, np.newaxis], UNLABELLED, np.zeros(num, np.int64))
    moved[:, numbers] = split.labels
    return replace(split, labels=moved)
