"""Weights of a graph: how large one is, and copies of those that lie beside the graph, one at a time."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from onnx import TensorProto, external_data_helper, helper

_PIECE_BYTES = 2**24
_ALIGNED_BYTES = 4096
"""Weights begin at a page of memory, so that they are mapped and not read."""


def size_bytes(weight: TensorProto) -> int:
    """Bytes that a weight takes in memory; of text, those of its letters."""
    if weight.data_type == TensorProto.STRING:
        return sum(map(len, weight.string_data))
    if weight.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return (math.prod(weight.dims) + 1) // 2
    return math.prod(weight.dims) * helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize


def is_beside(weight: TensorProto) -> bool:
    """Whether it lies in a file beside the graph's."""
    return bool(weight.data_location == TensorProto.EXTERNAL)


def copy_beside(weights: Iterable[TensorProto], folder: Path, target: Path) -> None:
    """Copy those that lie beside a graph in `folder` into the one file `target`, and have them say so, in place.

    Raises:
        OSError: a file is missing, or the disk is full.
    """
    with target.open("wb") as into:
        for weight in weights:
            found = external_data_helper.ExternalDataInfo(weight)
            into.write(bytes(-into.tell() % _ALIGNED_BYTES))
            offset, length = into.tell(), found.length or size_bytes(weight)
            with (folder / found.location).open("rb") as source:
                source.seek(found.offset or 0)
                _copy(source, into, length)
            del weight.external_data[:]
            for key, value in (("location", target.name), ("offset", str(offset)), ("length", str(length))):
                weight.external_data.add(key=key, value=value)


def _copy(source: IO[bytes], into: IO[bytes], length: int) -> None:
    while length:
        piece = source.read(min(length, _PIECE_BYTES))
        if not piece:
            raise OSError(f"{source.name} is too short")
        into.write(piece)
        length -= len(piece)
