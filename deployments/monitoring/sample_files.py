"""Files of sampled requests: their rows as they came, without Python objects, and labels that came later."""

import os
import socket
import time
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.oip.tensors import Array

_LENGTHS = "|lengths"


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Rows of one request."""

    request_id: str
    inputs: dict[str, Array]
    at_s: float


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What the answer to one row should have been."""

    request_id: str
    row: int
    label: int


def write(folder: Path, version: str, sampled: Sequence[Sampled], labels: Sequence[Labelled]) -> Path:
    """One more file, which a reader sees whole or not at all."""
    arrays: dict[str, Any] = {
        "version": np.array(version),
        "at_s": np.array([each.at_s for each in sampled]),
        "request_id": np.array([each.request_id for each in sampled], str),
        "label_of": np.array([each.request_id for each in labels], str),
        "label_row": np.array([each.row for each in labels], np.int64),
        "label": np.array([each.label for each in labels], np.int64),
    }
    for index, each in enumerate(sampled):
        for name, array in each.inputs.items():
            arrays |= _flat(f"{index}/{name}", array)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.time_ns()}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}.npz"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    partial.replace(path)
    return path


def read(path: Path) -> tuple[str, list[Sampled], list[Labelled]]:
    """The version, the rows and the labels of a file.

    Raises:
        ValueError: it is none of ours, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        inputs: list[dict[str, Array]] = [{} for _ in arrays["at_s"]]
        for key in arrays:
            place, _, name = key.partition("/")
            if place.isdigit() and not name.endswith(_LENGTHS):
                inputs[int(place)][name] = _unflat(arrays, key)
        sampled = [
            Sampled(request_id=str(request_id), inputs=rows, at_s=float(at_s))
            for request_id, rows, at_s in zip(arrays["request_id"], inputs, arrays["at_s"], strict=True)
        ]
        labels = [
            Labelled(request_id=str(request_id), row=int(row), label=int(label))
            for request_id, row, label in zip(arrays["label_of"], arrays["label_row"], arrays["label"], strict=True)
        ]
        return str(arrays["version"]), sampled, labels
    except (OSError, KeyError, IndexError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} must be a file of samples: {type(error).__name__}: {error}") from error


def expire(folder: Path, *, keep_s: float, max_bytes: int) -> None:
    """Remove files that are older, and the oldest of more bytes."""
    now_s, num_bytes = time.time(), 0
    for path in sorted(folder.glob("*.npz"), reverse=True):
        try:
            found = path.stat()
        except FileNotFoundError:  # another replica was faster
            continue
        num_bytes += found.st_size
        if num_bytes > max_bytes or now_s - found.st_mtime > keep_s:
            path.unlink(missing_ok=True)


def _flat(key: str, array: Array) -> dict[str, NDArray[np.generic]]:
    """An array without Python objects: texts and other bytes end to end, with their lengths."""
    if array.dtype != object:
        return {key: array}
    parts = [each.encode() if isinstance(each, str) else bytes(each) for each in array.ravel()]
    lengths = np.array([len(each) for each in parts], np.int64).reshape(array.shape)
    return {key: np.frombuffer(b"".join(parts), np.uint8), key + _LENGTHS: lengths}


def _unflat(arrays: Mapping[str, NDArray[np.generic]], key: str) -> Array:
    lengths = arrays.get(key + _LENGTHS)
    if lengths is None:
        return arrays[key]
    ends = np.cumsum(lengths.ravel())
    whole = arrays[key].tobytes()
    parts = np.empty(lengths.size, object)
    parts[:] = [whole[int(end) - int(length) : int(end)] for end, length in zip(ends, lengths.ravel(), strict=True)]
    return parts.reshape(lengths.shape)
