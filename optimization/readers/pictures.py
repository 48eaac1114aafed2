"""Reads pictures: a folder of one folder per class, through Ray Data, or an .npz of arrays."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimization.artifact import PicturePreprocessing
from optimization.errors import DataError
from optimization.examples import Augmentation, Dataset, Split
from optimization.readers import files
from optimization.readers.holding import hold_out, some
from optimization.sources import Pictures


def load(config: Pictures, seed: int) -> Dataset:
    """Pictures as bytes of shape [samples, channels, height, width].

    Raises:
        DataError: a file cannot be read, or the pictures are not of the size the settings name.
    """
    train, classes = _read(Path(config.train), config, None)
    if isinstance(config.held_out, str):
        held_out, _ = _read(Path(config.held_out), config, classes)
    else:
        train, held_out = hold_out(train, config.held_out, seed)
    channels = train.inputs["image"].shape[1]
    return Dataset(
        train=some(train, config.share, seed),
        held_out=held_out,
        labels=classes,
        offset=_by_channel(config.mean, channels),
        scale=_by_channel(config.std, channels),
        image=(channels, config.height, config.width),
        augmentation=Augmentation(shift=config.shift, flip=config.flip) if config.shift or config.flip else None,
        preprocessing=PicturePreprocessing(
            height=config.height, width=config.width, channels=1 if channels == 1 else 3
        ),
    )


def _read(path: Path, config: Pictures, known: tuple[str, ...] | None) -> tuple[Split, tuple[str, ...]]:
    if path.is_dir():
        return _read_folder(path, config, known)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pictures, labels = arrays["x"], arrays["y"].astype(np.int64).ravel()
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} must be a folder, or an .npz of 'x' and 'y': {error}") from error
    pictures = pictures[..., None] if pictures.ndim == 3 else pictures
    size = (config.height, config.width)
    if (
        pictures.dtype != np.uint8
        or pictures.ndim != 4
        or pictures.shape[1:3] != size
        or pictures.shape[3] not in (1, 3)
    ):
        rule = f"{path}: x must be bytes of shape [samples, {config.height}, {config.width}(, 1 or 3)]"
        raise DataError(f"{rule}, got {pictures.dtype} {list(pictures.shape)}")
    classes = known or tuple(map(str, range(int(labels.max()) + 1)))
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{path}: y must number classes in [0, {len(classes)}), got {labels.min()} to {labels.max()}")
    return _split(pictures, labels), classes


def _read_folder(path: Path, config: Pictures, known: tuple[str, ...] | None) -> tuple[Split, tuple[str, ...]]:
    classes = tuple(sorted(each.name for each in path.iterdir() if each.is_dir()))
    if known is not None and not set(classes) <= set(known):
        raise DataError(f"{path} has the class {min(set(classes) - set(known))!r}, which no training picture has")
    if known is None and len(classes) < 2:
        raise DataError(f"{path} must hold one folder for each of at least 2 classes, got {list(classes)}")
    rows = files.pictures(path, (config.height, config.width))
    numbers = {name: number for number, name in enumerate(known or classes)}
    labels = np.array([numbers[Path(row["path"]).parent.name] for row in rows], np.int64)
    return _split(np.stack([row["image"] for row in rows]), labels), known or classes


def _split(pictures: NDArray[np.uint8], labels: NDArray[np.int64]) -> Split:
    return Split(inputs={"image": np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))}, labels=labels)


def _by_channel(values: tuple[float, ...], channels: int) -> NDArray[np.float32]:
    if len(values) not in (1, channels):
        raise DataError(f"data.mean and data.std must have 1 or {channels} numbers, got {len(values)}")
    return np.broadcast_to(np.asarray(values, np.float32), channels).reshape(channels, 1, 1).copy()
