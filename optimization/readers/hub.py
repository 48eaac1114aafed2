"""Data by import path, and Hugging Face datasets."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization import extras
from optimization.artifact.manifest import PicturePreprocessing
from optimization.errors import DataError
from optimization.measuring import measures
from optimization.readers import tables
from optimization.readers.examples import Dataset, Split
from optimization.readers.holding import cut, hold_out, some
from optimization.recipe.sources import HuggingFaceData, TorchData
from optimization.tasks.named import TASKS


def torch_data(config: TorchData, seed: int) -> Dataset:
    """The items of a torch Dataset, stacked.

    Raises:
        RecipeError: the import path leads nowhere.
        DataError: an item is no pair of inputs and label, or shapes differ.
    """
    make = extras.load(config.train)
    items = make(**config.kwargs)
    train = _stacked(items, config)
    held: dict[str, Split] = {}
    for name, fraction, kwargs, take in (
        ("held_out", config.held_out, config.held_out_kwargs, hold_out),
        ("validation", config.validation, config.validation_kwargs, cut),
    ):
        if kwargs is not None:
            held[name] = _stacked(make(**kwargs), config)
        elif isinstance(fraction, float):
            train, held[name] = take(train, fraction, seed)
        else:
            raise DataError(f"data.{name} must be a fraction for a torch Dataset, got {fraction!r}")
    classes = _classes(config, items, [train, *held.values()])
    preprocessing = getattr(items, "preprocessing", None)
    if isinstance(preprocessing, PicturePreprocessing):
        train, held = _of_pixels(train), {name: _of_pixels(each) for name, each in held.items()}
    first = next(iter(train.inputs.values()))
    is_image = len(train.inputs) == 1 and first.ndim == 4
    return Dataset(
        train=some(train, config.share, seed),
        validation=held["validation"],
        held_out=held["held_out"],
        labels=classes,
        task=TASKS[config.task],
        image=tuple(first.shape[1:]) if is_image else None,
        chosen=measures.named("agreement") if config.quality == "agreement" else None,
        preprocessing=preprocessing,
    )


def huggingface_data(config: HuggingFaceData, seed: int) -> Dataset:
    """The columns of a Hugging Face dataset.

    Raises:
        DataError: it cannot be loaded, or lacks a split or column.
    """
    datasets = extras.require("datasets", extra="hf")
    try:
        if (Path(config.name) / "dataset_dict.json").exists():
            loaded = datasets.load_from_disk(config.name)
        else:
            loaded = datasets.load_dataset(config.name, config.config)
        train = _frame(loaded[config.train], config.label)
        held = {
            name: _frame(loaded[split], config.label)
            for name, split in (("validation", config.validation), ("held_out", config.held_out))
            if isinstance(split, str)
        }
    except Exception as error:  # the hub's, the cache's and the loader's errors share no base
        raise DataError(f"data {config.name!r} cannot be loaded: {error}") from error
    return tables.dataset(config, train, held, seed)


def _frame(split: Any, label: str) -> Any:
    """The columns; where a list of classes is kept as numbers, their names."""
    frame = split.to_pandas()
    names = getattr(getattr(split.features.get(label), "feature", None), "names", None)
    if names is not None:
        frame[label] = [[names[number] for number in row] for row in frame[label]]
    return frame


def _classes(config: TorchData, items: Any, splits: Sequence[Split]) -> tuple[str, ...]:
    """Names of what the labels tell apart; of numbers, none."""
    labels = splits[0].labels
    if labels.dtype.kind == "f":
        return ()
    if labels.ndim == 2:
        numbered = tuple(map(str, range(labels.shape[1])))
        classes = config.classes or tuple(map(str, getattr(items, "classes", numbered)))
        if len(classes) != labels.shape[1]:
            raise DataError(f"data.classes must name {labels.shape[1]} labels, got {list(classes)}")
        return classes
    numbered = tuple(map(str, range(int(labels.max()) + 1)))
    classes = config.classes or tuple(map(str, getattr(items, "classes", numbered)))
    worst = max(int(each.labels.max()) for each in splits)
    if worst >= len(classes):
        raise DataError(f"labels must lie in [0, {len(classes)}), got {worst}")
    return classes


def _stacked(items: Any, config: TorchData) -> Split:
    name = config.train
    rows = [items[number] for number in range(len(items))]
    try:
        inputs, labels = zip(*rows, strict=True)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must give pairs of inputs and label, got {type(rows[0]).__name__}") from error
    named = [each if isinstance(each, dict) else {"input": each} for each in inputs]
    try:
        stacked = {key: np.stack([_array(each[key]) for each in named]) for key in named[0]}
    except (KeyError, ValueError) as error:
        raise DataError(f"{name} must give inputs of one shape and the same names: {error}") from error
    match config.task:
        case "multi_label":
            return Split(inputs=stacked, labels=_zeros_and_ones(labels, name))
        case "regression":
            return Split(inputs=stacked, labels=TASKS["regression"].encode([float(each) for each in labels], ()))
    for number, label in enumerate(labels):
        if not float(label).is_integer() or label < 0:
            rule = f"{name}: item {number} must have a whole number of at least 0 as its label"
            raise DataError(f"{rule}, got {float(label):g}")
    return Split(inputs=stacked, labels=np.array([int(label) for label in labels], np.int64))


def _zeros_and_ones(labels: Sequence[Any], name: str) -> NDArray[np.int64]:
    """One row for each item, 1 where it has the label."""
    try:
        found = np.stack([np.asarray(each) for each in labels])
    except ValueError as error:
        raise DataError(f"{name} must give labels of one shape: {error}") from error
    if found.ndim != 2 or not np.isin(found, (0, 1)).all():
        raise DataError(f"{name} must give as many zeros and ones as there are labels, got {labels[0]!r}")
    return found.astype(np.int64)


def _of_pixels(split: Split) -> Split:
    """The examples, whose bytes are brightnesses."""
    return replace(split, pixels=frozenset(name for name, each in split.inputs.items() if each.dtype == np.uint8))


def _array(value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array
