"""Reads who chose what: ids of each column, and whether it came to what the model foretells."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optimization.chance import generator
from optimization.errors import DataError
from optimization.readers import files
from optimization.recommenders.examples import Examples
from optimization.recommenders.recipe import Interactions

if TYPE_CHECKING:
    import pandas as pd


def load(config: Interactions, seed: int) -> tuple[Examples, Examples]:
    """What teaches, and what is held out.

    Raises:
        DataError: the file cannot be read, a column is missing or no number, or one of both outcomes is.
    """
    frame = files.table(Path(config.train))
    ids = np.stack([_ids(frame, name) for name in config.columns], axis=1)
    examples = Examples(ids=ids, labels=(_numbers(frame, config.label) >= config.positive_from).astype(np.int64))
    if config.time is None:
        order = generator(seed, "held out").permutation(len(examples))
    else:
        order = np.argsort(_numbers(frame, config.time), kind="stable")
    num_held = max(1, round(config.held_out * len(examples)))
    train, held_out = examples.take(order[:-num_held]), examples.take(order[-num_held:])
    for name, part in (("train", train), ("held_out", held_out)):
        if len(np.unique(part.labels)) < 2:
            raise DataError(
                f"{name} must have interactions below {config.positive_from:g} in {config.label!r} and not below, "
                f"got one of both in {len(part)}"
            )
    return train, held_out


def sizes(config: Interactions, given: dict[str, int], *parts: Examples) -> dict[str, int]:
    """Rows of each column's table: those that are given, else as many as the largest id needs.

    Raises:
        DataError: an id is larger than the rows that are given.
    """
    largest = np.concatenate([part.ids for part in parts]).max(axis=0).tolist()
    for name, most in zip(config.columns, largest, strict=True):
        if given.get(name, most + 1) <= most:
            raise DataError(f"embeddings.rows of {name!r} must be more than its largest id, {most}, got {given[name]}")
    return {name: given.get(name, most + 1) for name, most in zip(config.columns, largest, strict=True)}


def _column(frame: "pd.DataFrame", name: str) -> "pd.Series[float]":
    if name not in frame:
        raise DataError(f"data has no column {name!r}; known are {', '.join(map(str, frame.columns))}")
    column = frame[name]
    if column.dtype.kind not in "biuf" or column.isna().any():
        raise DataError(f"column {name!r} must hold a number in every row, got {column.dtype} or nothing")
    return column


def _numbers(frame: "pd.DataFrame", name: str) -> NDArray[np.float64]:
    return np.asarray(_column(frame, name), np.float64)


def _ids(frame: "pd.DataFrame", name: str) -> NDArray[np.int64]:
    column = _column(frame, name)
    if column.dtype.kind not in "iu" or column.min() < 0:
        raise DataError(f"column {name!r} must hold ids, whole numbers from 0, got {column.dtype} from {column.min()}")
    return np.asarray(column, np.int64)
