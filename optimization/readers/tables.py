"""Reads CSV, TSV, JSONL and Parquet through Ray Data: columns of numbers, or one of text, and a label."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optimization.artifact import TextPreprocessing
from optimization.errors import DataError
from optimization.examples import Dataset, Split
from optimization.readers import files, text
from optimization.readers.holding import hold_out, some
from optimization.sources import HuggingFaceData, Table

if TYPE_CHECKING:
    import pandas as pd


def load(config: Table, seed: int) -> Dataset:
    """Read the table; features are brought to mean 0 and deviation 1, texts become token ids.

    Raises:
        DataError: a file cannot be read, a column is missing, or a value is no number.
    """
    train = files.table(Path(config.train))
    held_out = files.table(Path(config.held_out)) if isinstance(config.held_out, str) else None
    return dataset(config, train, held_out, seed)


def dataset(
    config: Table | HuggingFaceData, train: "pd.DataFrame", held_out: "pd.DataFrame | None", seed: int
) -> Dataset:
    """Examples from the columns the settings name."""
    classes = _classes(train, config.label)
    tokenizer = None if config.tokenizer is None else text.tokenizer(config.tokenizer, config.max_length)

    def split(frame: "pd.DataFrame") -> Split:
        labels = _labels(frame, config.label, classes)
        if config.text is not None:
            return text.encode(_texts(frame, config.text), labels, tokenizer)
        return Split(inputs={"features": _features(frame, config)}, labels=labels)

    examples = split(train)
    if held_out is not None:
        kept = split(held_out)
    else:
        assert isinstance(config.held_out, float), "a name was read"
        examples, kept = hold_out(examples, config.held_out, seed)
    examples = some(examples, config.share, seed)
    if config.text is not None:
        folder = Path(tempfile.mkdtemp(prefix="trimtab-tokenizer-"))
        return Dataset(
            train=examples,
            held_out=kept,
            labels=classes,
            preprocessing=TextPreprocessing(max_length=config.max_length),
            files={text.FILE: text.save(tokenizer, folder)},
        )
    features = examples.inputs["features"]
    deviation = features.std(axis=0)
    return Dataset(
        train=examples,
        held_out=kept,
        labels=classes,
        offset=features.mean(axis=0),
        scale=np.where(deviation > 0, deviation, np.float32(1)),
    )


def _column(frame: "pd.DataFrame", name: str) -> "pd.Series[Any]":
    if name not in frame:
        raise DataError(f"data has no column {name!r}; known are {', '.join(map(str, frame.columns))}")
    column = frame[name]
    if column.isna().any():
        raise DataError(
            f"column {name!r} must have a value in every row, got none in row {int(column.isna().argmax())}"
        )
    return column


def _classes(frame: "pd.DataFrame", label: str) -> tuple[str, ...]:
    values = sorted(_column(frame, label).unique().tolist())
    if len(values) < 2:
        raise DataError(f"column {label!r} must name at least 2 classes, got {values}")
    return tuple(map(str, values))


def _labels(frame: "pd.DataFrame", label: str, classes: tuple[str, ...]) -> NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(classes)}
    names = _column(frame, label).astype(str)
    unknown = sorted(set(names) - set(numbers))
    if unknown:
        raise DataError(f"held-out examples have the class {unknown[0]!r}, which no training example has")
    return np.asarray(names.map(numbers), np.int64)


def _texts(frame: "pd.DataFrame", name: str) -> list[str]:
    return [str(each) for each in _column(frame, name)]


def _features(frame: "pd.DataFrame", config: Table | HuggingFaceData) -> NDArray[np.float32]:
    names = config.features or tuple(name for name in frame.columns if name != config.label)
    columns = [_column(frame, name) for name in names]
    for column in columns:
        if column.dtype.kind not in "biuf":
            raise DataError(f"column {column.name!r} must hold numbers, got {column.iloc[0]!r} in row 0")
    return np.stack([column.to_numpy(np.float32) for column in columns], axis=1)
