"""Reads pictures: a folder of one folder per class, through Ray Data, or an .npz of arrays."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from optimization.artifact.manifest import PicturePreprocessing
from optimization.errors import DataError
from optimization.readers import files, streaming
from optimization.readers.examples import Augmentation, Dataset, Split
from optimization.readers.holding import cut, hold_out, some
from optimization.readers.streaming import Columns, Prepared, Share
from optimization.recipe.sources import Pictures, part_of

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_AT_ONCE = 256
"""Pictures that are encoded together for a stream."""


def load(config: Pictures, seed: int, kept: Path) -> Dataset:
    """Pictures as bytes of shape [samples, channels, height, width].

    Raises:
        DataError: a file cannot be read, or the pictures are not of the size the settings name.
    """
    stream = None
    if config.stream:
        prepared, classes = _prepare(config, seed, kept)
        splits, stream = prepared.splits, prepared.stream
    else:
        train, classes = _read(config.train, config, None)
        splits = {"train": train}
    for name, where, take in (("held_out", config.held_out, hold_out), ("validation", config.validation, cut)):
        if isinstance(where, str):
            splits[name], _ = _read(where, config, classes)
        elif stream is None:
            splits["train"], splits[name] = take(splits["train"], where, seed)
    if stream is None:
        splits["train"] = some(splits["train"], config.share, seed)
    channels = splits["train"].inputs["image"].shape[1]
    return Dataset(
        train=splits["train"],
        validation=splits["validation"],
        held_out=splits["held_out"],
        stream=stream,
        labels=classes,
        offset=_by_channel(config.mean, channels),
        scale=_by_channel(config.std, channels),
        image=(channels, config.height, config.width),
        augmentation=Augmentation(shift=config.shift, flip=config.flip) if config.shift or config.flip else None,
        preprocessing=PicturePreprocessing(
            height=config.height, width=config.width, channels=1 if channels == 1 else 3
        ),
    )


def _read(name: str, config: Pictures, known: tuple[str, ...] | None) -> tuple[Split, tuple[str, ...]]:
    file, part = part_of(name)
    path = Path(file)
    if path.is_dir():
        return _read_folder(path, config, known)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pictures, labels = arrays["x"][part], arrays["y"].astype(np.int64).ravel()[part]
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
    if not len(labels):
        raise DataError(f"{name} must hold pictures, got none")
    classes = known or tuple(map(str, range(int(labels.max()) + 1)))
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{path}: y must number classes in [0, {len(classes)}), got {labels.min()} to {labels.max()}")
    return _split(pictures, labels), classes


def _read_folder(path: Path, config: Pictures, known: tuple[str, ...] | None) -> tuple[Split, tuple[str, ...]]:
    classes, paths = _listed(path, known)
    with _told(paths):
        rows = files.pictures(paths, (config.height, config.width)).take_all()
    rows.sort(key=lambda row: str(row["path"]))
    labels = np.array([classes.index(Path(row["path"]).parent.name) for row in rows], np.int64)
    return _split(np.stack([row["image"] for row in rows]), labels), classes


def _listed(path: Path, known: tuple[str, ...] | None) -> tuple[tuple[str, ...], list[Path]]:
    """The classes of a folder, and its pictures."""
    classes = tuple(sorted(each.name for each in path.iterdir() if each.is_dir()))
    if known is not None and not set(classes) <= set(known):
        raise DataError(f"{path} has the class {min(set(classes) - set(known))!r}, which no training picture has")
    if known is None and len(classes) < 2:
        raise DataError(f"{path} must hold one folder for each of at least 2 classes, got {list(classes)}")
    paths = sorted(each for name in classes for each in (path / name).iterdir() if each.suffix.lower() in _ENDINGS)
    if empty := set(classes) - {each.parent.name for each in paths}:
        raise DataError(f"{path / min(empty)} must hold pictures ({', '.join(_ENDINGS)}), got none")
    return known or classes, paths


def _prepare(config: Pictures, seed: int, kept: Path) -> tuple[Prepared, tuple[str, ...]]:
    """Pictures that are streamed."""
    root = Path(config.train)
    if not root.is_dir():
        raise DataError(f"data.train must be a folder where data.stream is true, got {config.train!r}")
    classes, paths = _listed(root, None)
    numbers = {str(each): streaming.number_of_name(str(each.relative_to(root)), seed) for each in paths}

    def read(_facts: dict[str, Any], share: Share) -> Any:
        chosen = share.of(np.array([numbers[str(each)] for each in paths], np.int64))
        wanted = [each for each, is_chosen in zip(paths, chosen, strict=True) if is_chosen]
        return files.pictures(wanted, (config.height, config.width)).map_batches(encoded, batch_size=_AT_ONCE)

    def encoded(batch: Columns) -> Columns:
        labels = np.array([classes.index(Path(each).parent.name) for each in batch["path"]], np.int64)
        found = np.array([numbers[str(each)] for each in batch["path"]], np.int64)
        return streaming.columns(_split(np.asarray(batch["image"]), labels), found, 0)

    with _told(paths):
        return streaming.prepare(config, seed, kept, paths, lambda: {"num": len(paths)}, read), classes


@contextmanager
def _told(paths: list[Path]) -> Iterator[None]:
    """Name the file that is no picture: Ray Data does not for those that end too early.

    Raises:
        DataError: a file is no picture.
    """
    try:
        with files.told(paths[0].parent.parent):
            yield
    except DataError:
        for path in paths:
            try:
                with Image.open(path) as picture:
                    picture.load()
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f"{path} must be a picture: {error}; mend or remove it") from error
        raise


def _split(pictures: NDArray[np.uint8], labels: NDArray[np.int64]) -> Split:
    image = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
    return Split(inputs={"image": image}, labels=labels, pixels=frozenset(["image"]))


def _by_channel(values: tuple[float, ...], channels: int) -> NDArray[np.float32]:
    if len(values) not in (1, channels):
        raise DataError(f"data.mean and data.std must have 1 or {channels} numbers, got {len(values)}")
    return np.broadcast_to(np.asarray(values, np.float32), channels).reshape(channels, 1, 1).copy()
