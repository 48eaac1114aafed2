"""Where a table's rows begin: zeros, seeded random numbers, or a file, which is read a piece at a time."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import fsspec
import numpy as np

from deployments.embeddings.owners import Buckets, Ids
from deployments.embeddings.table import DTYPES, Table, Values
from deployments.errors import SettingsError

ZEROS, NORMAL = "zeros", "normal"
_PIECE_BYTES = 16 * 2**20
_SAFETENSORS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Part(NamedTuple):
    """Some rows of a table."""

    ids: Ids
    values: Values
    versions: Any = 0
    """Of each, or one for all."""
    sums: Any = None
    """Adagrad's, of rows that were trained."""


def initial(initial: str, seed: int, table: Table, buckets: Buckets, sha256: str | None = None) -> Iterator[Part]:
    """The rows of `buckets` as the table begins; of a file, all of them.

    Raises:
        SettingsError: the file cannot be read, is no table of this shape, or has another digest than `sha256`.
    """
    if initial == ZEROS:
        return
    if initial == NORMAL:
        for bucket in buckets.tolist():
            ids = table.ids_of(bucket)
            draws = np.random.default_rng([seed, bucket]).standard_normal((len(ids), table.width), np.float32)
            yield Part(ids, (draws / math.sqrt(table.width)).astype(DTYPES[table.dtype]))
        return
    if sha256 is not None:
        _check_digest(initial, sha256)
    with _opened(initial) as file:
        stored = _stored(file, initial, table)
        step = max(1, _PIECE_BYTES // (table.width * stored.itemsize))
        for begin in range(0, table.rows, step):
            end = min(begin + step, table.rows)
            raw = _exactly(file, (end - begin) * table.width * stored.itemsize, initial)
            values = np.frombuffer(raw, stored).reshape(end - begin, table.width)
            yield Part(np.arange(begin, end, dtype=np.int64), values.astype(DTYPES[table.dtype]))


def check(initial: str, table: Table) -> None:
    """Whether a table can begin so.

    Raises:
        SettingsError: it names the file, the rule and what was got.
    """
    if initial in (ZEROS, NORMAL):
        return
    with _opened(initial) as file:
        _stored(file, initial, table)


def _check_digest(where: str, sha256: str) -> None:
    with _opened(where) as file:
        digest = hashlib.sha256()
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    if digest.hexdigest() != sha256:
        raise SettingsError(
            f"{where} must have sha256 {sha256}, got {digest.hexdigest()}: it is damaged or another one"
        )


def _opened(where: str) -> Any:
    try:
        return fsspec.open(where, "rb").open()
    except Exception as error:  # each file system raises errors of its own
        raise SettingsError(
            f"initial must be zeros, normal or a file that can be read, got {where}: {error}"
        ) from error


@dataclass(frozen=True)
class _Header:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def _stored(file: BinaryIO, where: str, table: Table) -> np.dtype[Any]:
    """What the elements are; `file` then stands before the first."""
    if where.endswith(".npy"):
        header = _npy(file, where)
    elif where.endswith(".safetensors"):
        header = _safetensors(file, where, table)
    else:
        raise SettingsError(f"initial must be zeros, normal, or a .npy or .safetensors file, got {where}")
    if header.shape != (table.rows, table.width):
        raise SettingsError(f"{where} must have the shape [{table.rows}, {table.width}], got {list(header.shape)}")
    return header.dtype


def _npy(file: BinaryIO, where: str) -> _Header:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
    except ValueError as error:
        raise SettingsError(f"{where} must be a .npy file: {error}") from error
    if is_fortran or dtype.kind != "f":
        raise SettingsError(f"{where} must hold floats, row after row, got {dtype}{', by columns' * is_fortran}")
    return _Header(dtype, tuple(shape))


def _safetensors(file: BinaryIO, where: str, table: Table) -> _Header:
    length = int.from_bytes(_exactly(file, 8, where), "little")
    try:
        tensors = json.loads(_exactly(file, min(length, _PIECE_BYTES), where))
        found = {
            name: (_Header(DTYPES[_SAFETENSORS[each["dtype"]]], tuple(each["shape"])), each["data_offsets"][0])
            for name, each in tensors.items()
            if name != "__metadata__" and each["dtype"] in _SAFETENSORS
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{where} must be a .safetensors file: {error}") from error
    fitting = [each for each in found.values() if each[0].shape == (table.rows, table.width)]
    if len(fitting) != 1:
        shapes = {name: list(header.shape) for name, (header, _) in found.items()}
        raise SettingsError(f"{where} must hold one tensor of shape [{table.rows}, {table.width}], got {shapes}")
    header, begin = fitting[0]
    file.seek(8 + length + begin)
    return header


def _exactly(file: BinaryIO, num_bytes: int, where: str) -> bytes:
    raw = file.read(num_bytes)
    if len(raw) != num_bytes:
        raise SettingsError(f"{where} must have {num_bytes} more bytes, got {len(raw)}: it is cut")
    return raw
