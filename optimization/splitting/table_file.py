"""A table of a graph as a file of numpy, written a piece at a time: it may be larger than memory."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from optimization.splitting.lookups import Dequantized

_PIECE_BYTES = 16 * 2**20


def write(model: onnx.ModelProto, folder: Path, table: str, how: Dequantized | None, target: Path) -> None:
    """Write the rows of `table` to the .npy file `target`, as floats; `folder` is where the graph's file lies."""
    initializers = {each.name: each for each in model.graph.initializer}
    rows = _mapped(initializers[table], folder)
    scale = zero_point = None
    dtype = rows.dtype
    if how is not None:
        scale = _by_axis(numpy_helper.to_array(initializers[how.scale], str(folder)), how.axis)
        dtype = scale.dtype
        if how.zero_point:
            zero_point = _by_axis(numpy_helper.to_array(initializers[how.zero_point], str(folder)), how.axis)
    target.parent.mkdir(parents=True, exist_ok=True)
    file = np.lib.format.open_memmap(target, mode="w+", dtype=dtype, shape=rows.shape)
    step = max(1, _PIECE_BYTES // (rows.shape[1] * dtype.itemsize))
    for begin in range(0, len(rows), step):
        some = slice(begin, begin + step)
        file[some] = rows[some] if scale is None else _floats(rows[some], scale, zero_point, some)
    file.flush()


def _floats(numbers: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any] | None, some: slice) -> NDArray[Any]:
    """As DequantizeLinear does: the difference in whole numbers, then one product."""
    whole = numbers.astype(np.int32)
    if zero_point is not None:
        whole -= _of(zero_point, some).astype(np.int32)
    floats: NDArray[Any] = whole.astype(np.float32) * _of(scale, some).astype(np.float32)
    return floats.astype(scale.dtype)


def _by_axis(weights: NDArray[Any], axis: int) -> NDArray[Any]:
    return weights.reshape(-1, 1) if axis == 0 and weights.size > 1 else weights.reshape(1, -1)


def _of(weights: NDArray[Any], some: slice) -> NDArray[Any]:
    return weights[some] if len(weights) > 1 else weights


def _mapped(table: TensorProto, folder: Path) -> NDArray[Any]:
    """The table, from the file beside the graph where it lies there."""
    dtype = helper.tensor_dtype_to_np_dtype(table.data_type)
    if not external_data_helper.uses_external_data(table):
        return numpy_helper.to_array(table)
    where = external_data_helper.ExternalDataInfo(table)
    with (folder / where.location).open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    count = int(np.prod(table.dims))
    return np.frombuffer(memory, dtype, count, where.offset or 0).reshape(tuple(table.dims))
