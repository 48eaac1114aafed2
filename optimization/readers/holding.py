"""Divides examples: what teaches, what decides, what reports. The classes keep their proportion in each."""

import math

import numpy as np
from numpy.typing import NDArray

from optimization.chance import generator
from optimization.errors import DataError
from optimization.readers.examples import Split


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """What is left, and the fraction held out: at least one example of each class in both.

    Raises:
        DataError: a class has too few examples to be in both.
    """
    from sklearn.model_selection import train_test_split

    if split.groups is not None:
        return _apart(split, split.groups, fraction, generator(seed, "held out"))
    strata = _strata(split)
    num_classes = _expect_several(strata)
    num_held = min(max(math.ceil(fraction * len(split)), num_classes), len(split) - num_classes)
    chosen = train_test_split(np.arange(len(split)), test_size=num_held, stratify=strata, random_state=seed)
    train, held = (split.take(rows) for rows in chosen)
    return train, held


def some(split: Split, share: float, seed: int) -> Split:
    """That share of the examples."""
    if share == 1:
        return split
    return hold_out(split, share, seed)[1]


def cut(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """What is left to train on, and the fraction that decides; a class of one example stays to be trained on."""
    if split.groups is not None:
        return _apart(split, split.groups, fraction, generator(seed, "validation"))
    num = min(max(1, round(fraction * len(split))), len(split) - 1)
    strata = _strata(split)
    order = _spread(strata, generator(seed, "validation"))
    counts = np.bincount(strata)[strata]
    order = np.concatenate([order[counts[order] > 1], order[counts[order] == 1]])
    return split.take(np.sort(order[num:])), split.take(np.sort(order[:num]))


def sample(split: Split, num: int, seed: int) -> Split:
    """So many labelled examples at random, or all; in any first part of them, too, the classes keep their proportion.

    A file that is sorted by class would else give examples of one class alone.
    """
    labelled = split.labelled() if len(split.labelled_rows()) else split
    return labelled.take(_spread(_strata(labelled), generator(seed, "sample"))[:num])


def _apart(
    split: Split, groups: NDArray[np.float64], fraction: float, random: np.random.Generator
) -> tuple[Split, Split]:
    """What is left, and the fraction of the groups that is held out, each of them whole."""
    every = np.unique(groups)
    if len(every) < 2:
        raise DataError(f"there must be at least 2 queries to hold one out, got {len(every)}")
    num = min(max(1, round(fraction * len(every))), len(every) - 1)
    is_held = np.isin(groups, random.permutation(every)[:num])
    return split.take(np.flatnonzero(~is_held)), split.take(np.flatnonzero(is_held))


def _strata(split: Split) -> NDArray[np.int64]:
    """The class of each example; where there is no one class, all are of one."""
    labels = split.labels
    return labels if labels.ndim == 1 and labels.dtype.kind == "i" else np.zeros(len(labels), np.int64)


def _spread(labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """All rows, each class at random and spread evenly over the whole."""
    places = np.empty(len(labels))
    for each in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == each))
        places[rows] = (np.arange(len(rows)) + random.random()) / len(rows)
    return np.argsort(places, kind="stable")


def _expect_several(strata: NDArray[np.int64]) -> int:
    """The number of classes, each of which has several examples."""
    counts = np.bincount(strata)
    rare = np.flatnonzero((counts > 0) & (counts < 2))
    if len(rare):
        raise DataError(f"each class must have at least 2 examples to hold one out, got 1 of class {rare[0]}")
    return int((counts > 0).sum())
