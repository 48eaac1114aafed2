"""Holds examples out of training, the classes in equal proportion."""

import numpy as np

from optimization.errors import DataError
from optimization.readers.examples import Split


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """What to train on, and the fraction held out.

    Raises:
        DataError: a class has too few examples to be in both.
    """
    from sklearn.model_selection import train_test_split

    _expect_several(split)
    chosen = train_test_split(np.arange(len(split)), test_size=fraction, stratify=split.labels, random_state=seed)
    train, held = (split.take(rows) for rows in chosen)
    return train, held


def some(split: Split, share: float, seed: int) -> Split:
    """That share of the examples."""
    if share == 1:
        return split
    return hold_out(split, share, seed)[1]


def _expect_several(split: Split) -> None:
    counts = np.bincount(split.labels)
    rare = np.flatnonzero((counts > 0) & (counts < 2))
    if len(rare):
        raise DataError(f"each class must have at least 2 examples to hold one out, got 1 of class {rare[0]}")
