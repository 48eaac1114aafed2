"""Reads CSV, TSV, JSONL and Parquet through Ray Data: columns of numbers, or one of text, and a label."""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optimization.artifact.manifest import TextPreprocessing
from optimization.errors import DataError
from optimization.readers import files, streaming, text, tokens
from optimization.readers.examples import Dataset, Split
from optimization.readers.holding import cut, hold_out, some
from optimization.readers.streaming import Columns, Share
from optimization.recipe.sources import HuggingFaceData, Table
from optimization.tasks.embedding import Embedding
from optimization.tasks.named import TASKS
from optimization.tasks.task import LabelledTask

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 4096
"""Rows that are encoded together for a stream."""


def load(config: Table, seed: int, kept: Path) -> Dataset:
    """Read the table; features are brought to mean 0 and deviation 1, texts become token ids.

    Raises:
        DataError: a file cannot be read, a column is missing, or a value is no number.
    """
    train = Path(config.train)
    named = {"validation": config.validation, "held_out": config.held_out}
    held = {name: files.table(Path(each)) for name, each in named.items() if isinstance(each, str)}
    if not config.stream:
        return dataset(config, files.table(train), held, seed)
    prepared = streaming.prepare(
        config,
        seed,
        kept,
        files.tables(train),
        find=partial(_facts, config, train),
        read=partial(_read, config, train, seed),
    )
    facts = prepared.facts
    encode = _Encoder(config, facts["classes"])
    splits = prepared.splits | {name: encode(frame) for name, frame in held.items()}
    made = _dataset(config, splits, tuple(map(str, facts["classes"])))
    if config.text is not None:
        return replace(made, stream=prepared.stream)
    mean, scale = (np.asarray(facts[name], np.float32) for name in ("mean", "scale"))
    return replace(made, stream=prepared.stream, offset=mean, scale=scale)


def dataset(
    config: Table | HuggingFaceData, train: "pd.DataFrame", held: Mapping[str, "pd.DataFrame"], seed: int
) -> Dataset:
    """Examples from the columns the settings name; `held` are those that the settings name by "validation", "held_out".

    What is not among them is cut from `train`.
    """
    if config.task == "classification":
        classes = classes_of(train, config.label)
    else:
        classes = list(TASKS[config.task].names(_column(train, config.label).tolist()))
    encode = _Encoder(config, classes)
    examples = encode(train)
    splits = {name: encode(frame) for name, frame in held.items()}
    for name, fraction, take in (("held_out", config.held_out, hold_out), ("validation", config.validation, cut)):
        if name not in splits:
            assert isinstance(fraction, float), "a name was read"
            examples, splits[name] = take(examples, fraction, seed)
    examples = some(examples, config.share, seed)
    made = _dataset(config, splits | {"train": examples}, tuple(map(str, classes)))
    if config.text is not None:
        return made
    features = examples.inputs["features"]
    return replace(made, offset=features.mean(axis=0), scale=_nonzero(features.std(axis=0)))


def classes_of(frame: "pd.DataFrame", label: str) -> list[Any]:
    """What the column of labels tells apart, in order.

    Raises:
        DataError: there is no such column, a row has no label, or all have the same.
    """
    return _classes(_label_column(frame, label).unique().tolist(), label)


class _Encoder:
    """Makes examples of a table's rows."""

    def __init__(self, config: Table | HuggingFaceData, classes: Sequence[Any]) -> None:
        self._config = config
        self._classes = tuple(map(str, classes))
        self._numbers = {str(name): number for number, name in enumerate(classes)}
        self._tokenizer = None if config.tokenizer is None else text.tokenizer(config.tokenizer, config.max_length)

    def __call__(self, frame: "pd.DataFrame") -> Split:
        """The examples.

        Raises:
            DataError: a column is missing, a value is no number, or a class is unknown.
        """
        if self._config.task == "classification":
            labels = _labels(frame, self._config.label, self._numbers)
        else:
            values = _column(frame, self._config.label).tolist()
            if self._config.query is not None:
                values = list(zip(values, _column(frame, self._config.query), strict=True))
            labels = TASKS[self._config.task].encode(values, self._classes)
        if self._config.task == "token_classification":
            return tokens.encode(_column(frame, str(self._config.text)).tolist(), labels, self._tokenizer)
        groups = None if self._config.query is None else np.asarray(labels[:, 1], np.float64)
        if self._config.text is not None:
            encoded = text.encode(_texts(frame, self._config.text), labels, self._tokenizer)
            return replace(encoded, groups=groups)
        return Split(inputs={"features": _features(frame, self._config)}, labels=labels, groups=groups)


def _dataset(config: Table | HuggingFaceData, splits: Mapping[str, Split], classes: tuple[str, ...]) -> Dataset:
    if config.text is None:
        return Dataset(
            train=splits["train"],
            validation=splits["validation"],
            held_out=splits["held_out"],
            labels=classes,
            task=_task(config, classes),
        )
    folder = Path(tempfile.mkdtemp(prefix="trimtab-tokenizer-"))
    assert config.tokenizer is not None, "the recipe was checked"
    return Dataset(
        train=splits["train"],
        validation=splits["validation"],
        held_out=splits["held_out"],
        labels=classes,
        task=_task(config, classes),
        preprocessing=TextPreprocessing(max_length=config.max_length),
        files={text.FILE: text.save(text.tokenizer(config.tokenizer, config.max_length), folder)},
    )


def _task(config: Table | HuggingFaceData, classes: tuple[str, ...]) -> LabelledTask:
    """What the data are for, with what is known of it from them."""
    task = TASKS[config.task].named(classes)
    return replace(task, width=config.embedding or 0) if isinstance(task, Embedding) else task


def _facts(config: Table, path: Path) -> dict[str, Any]:
    """What has to be known of all rows first: number, classes, means and deviations; in one pass."""

    def of(frame: "pd.DataFrame") -> dict[str, list[str]]:
        frame = files.indexed(frame)
        found: dict[str, Any] = {"num": len(frame), "classes": _label_column(frame, config.label).unique().tolist()}
        if config.text is None:
            features = _features(frame, config).astype(np.float64)
            found |= {"sum": features.sum(axis=0).tolist(), "squares": np.square(features).sum(axis=0).tolist()}
        else:
            _column(frame, config.text)
        return {"facts": [json.dumps(found)]}

    with files.told(path):
        rows = files.rows(path).map_batches(of, batch_format="pandas", batch_size=None).take_all()
    parts = [json.loads(row["facts"]) for row in rows]
    num = sum(part["num"] for part in parts)
    classes = _classes({name for part in parts for name in part["classes"]}, config.label)
    if config.text is not None:
        return {"num": num, "classes": classes}
    mean, square = (np.sum([part[name] for part in parts], axis=0) / num for name in ("sum", "squares"))
    deviation = np.sqrt(np.maximum(square - np.square(mean), 0))
    return {"num": num, "classes": classes, "mean": mean.tolist(), "scale": _nonzero(deviation).tolist()}


def _read(config: Table, path: Path, seed: int, facts: dict[str, Any], share: Share) -> Any:
    encode = _Encoder(config, facts["classes"])

    def encoded(frame: "pd.DataFrame") -> Columns:
        frame = files.indexed(frame)
        numbers = streaming.numbers_of_rows(frame, seed)
        chosen = np.flatnonzero(share.of(numbers))
        if not len(chosen):  # no rows, but still the columns
            return streaming.columns(encode(frame[:1]).take(chosen), numbers[chosen], config.max_length)
        return streaming.columns(encode(frame.iloc[chosen]), numbers[chosen], config.max_length)

    return files.rows(path).map_batches(encoded, batch_format="pandas", batch_size=_AT_ONCE)


def _column(frame: "pd.DataFrame", name: str) -> "pd.Series[Any]":
    if name not in frame:
        raise DataError(f"data has no column {name!r}; known are {', '.join(map(str, frame.columns))}")
    column = frame[name]
    if column.isna().any():
        where = _place(frame, int(column.isna().to_numpy().argmax()))
        raise DataError(f"column {name!r} must have a value in every row, got none in {where}")
    return column


def _label_column(frame: "pd.DataFrame", name: str) -> "pd.Series[Any]":
    """The column, in which an empty text is no class: a CSV's empty fields are read as such."""
    column = _column(frame, name)
    is_empty = column.map(lambda each: isinstance(each, str) and not each.strip()).to_numpy()
    if is_empty.any():
        where = _place(frame, int(is_empty.argmax()))
        raise DataError(f"column {name!r} must have a label in every row, got an empty text in {where}")
    return column


def _place(frame: "pd.DataFrame", position: int) -> str:
    """`row 3 of x.csv`, rows being counted from 0, without headings."""
    index = frame.index[position]
    return f"row {index[1]} of {index[0]}" if isinstance(index, tuple) else f"row {position}"


def _classes(values: Iterable[Any], label: str) -> list[Any]:
    classes = sorted(values)
    if len(classes) < 2:
        raise DataError(f"column {label!r} must name at least 2 classes, got {classes}")
    return classes


def _labels(frame: "pd.DataFrame", label: str, numbers: Mapping[str, int]) -> NDArray[np.int64]:
    names = _label_column(frame, label).astype(str)
    is_unknown = ~names.isin(list(numbers)).to_numpy()
    if is_unknown.any():
        first = int(is_unknown.argmax())
        raise DataError(
            f"examples kept from training have the class {names.iloc[first]!r}, which no training example has, "
            f"in {_place(frame, first)}"
        )
    return np.asarray(names.map(dict(numbers)), np.int64)


def _texts(frame: "pd.DataFrame", name: str) -> list[str]:
    return [str(each) for each in _column(frame, name)]


def _features(frame: "pd.DataFrame", config: Table | HuggingFaceData) -> NDArray[np.float32]:
    import pandas as pd

    names = config.features or tuple(each for each in frame.columns if each not in (config.label, config.query))
    columns = [_column(frame, name) for name in names]
    for column in columns:
        if column.dtype.kind not in "biuf":
            first = int(pd.to_numeric(column, errors="coerce").isna().to_numpy().argmax())
            where = _place(frame, first)
            raise DataError(f"column {column.name!r} must hold numbers, got {column.iloc[first]!r} in {where}")
    return np.stack([column.to_numpy(np.float32) for column in columns], axis=1)


def _nonzero(deviation: NDArray[Any]) -> NDArray[Any]:
    """A column that never changes is divided by 1."""
    return np.where(deviation > 0, deviation, deviation.dtype.type(1))
