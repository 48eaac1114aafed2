"""Brings the classes of data in the order of a model that came with classes of its own; they are matched by name."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

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
    of_several = dataset.task.kind == "multi_label"
    moved = partial(_columns if of_several else _classes, numbers=numbers, num=len(labels))
    return replace(
        dataset,
        labels=tuple(labels),
        task=dataset.task.named(labels),
        train=_moved(dataset.train, moved),
        validation=_moved(dataset.validation, moved),
        held_out=_moved(dataset.held_out, moved),
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


def _moved(split: Split, moved: Callable[[NDArray[Any]], NDArray[Any]]) -> Split:
    return replace(split, labels=moved(split.labels))


def _classes(labels: NDArray[Any], *, numbers: NDArray[np.int64], num: int) -> NDArray[Any]:  # noqa: ARG001
    """Numbers of classes, of whatever shape, by their new ones."""
    return np.where(labels < 0, labels, numbers[labels])


def _columns(labels: NDArray[Any], *, numbers: NDArray[np.int64], num: int) -> NDArray[Any]:
    """What each sample has of each of the `num` labels, by what it has of each of its own."""
    moved = np.where((labels == UNLABELLED).all(axis=1)[:, np.newaxis], UNLABELLED, np.zeros(num, np.int64))
    moved[:, numbers] = labels
    return moved
