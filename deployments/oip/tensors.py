"""Tensors on the wire: the protocol's datatypes, as JSON numbers and as little-endian bytes.

Open Inference Protocol v2 and its binary tensor data extension:
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deployments.errors import RequestError

Array = NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "BYTES": np.dtype(object),
}
"""numpy's type for each datatype; elements of BYTES are `bytes`, or `str` where a model gave them."""

_FLOATS = frozenset(dtype for name, dtype in DTYPES.items() if name.startswith(("FP", "BF")))
_FLOAT_CHARS = frozenset(dtype.char for dtype in _FLOATS)


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> Array:
    """The tensor whose elements are `data`, flat or nested, in row-major order.

    Raises:
        RequestError: an element is not of the datatype, or their number does not fit the shape.
    """
    if not isinstance(data, list):
        raise RequestError(f"input {name!r}: data must be a list, got {type(data).__name__}")
    array = _bytes_elements(name, data) if datatype == "BYTES" else _numbers(name, datatype, data)
    if array.size != math.prod(shape):
        raise RequestError(
            f"input {name!r}: shape {list(shape)} takes {math.prod(shape)} elements, data has {array.size}"
        )
    return array.reshape(shape)


def to_json(name: str, array: Array) -> list[Any]:
    """The elements in row-major order; `BYTES` as UTF-8 strings.

    Raises:
        RequestError: an element of BYTES is not UTF-8, so that JSON cannot hold it.
    """
    flat = array.ravel()
    if array.dtype == object:
        return [_text(name, element) for element in flat]
    elements: list[Any] = flat.tolist()
    return elements


def from_binary(name: str, datatype: str, shape: Sequence[int], raw: memoryview) -> Array:
    """The tensor whose elements are the bytes `raw`; shares their memory.

    Raises:
        RequestError: the number of bytes does not fit datatype and shape.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return _split_bytes(name, count, raw).reshape(shape)
    dtype = DTYPES[datatype]
    if len(raw) != count * dtype.itemsize:
        raise RequestError(
            f"input {name!r}: {datatype} of shape {list(shape)} takes {count * dtype.itemsize} bytes, got {len(raw)}"
        )
    return np.frombuffer(raw, dtype).reshape(shape)


def to_binary(array: Array) -> bytes:
    """The elements as little-endian bytes in row-major order; each of `BYTES` after its 4-byte length."""
    if array.dtype != object:
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    elements = [element.encode() if isinstance(element, str) else element for element in array.ravel()]
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def check_finite(name: str, array: Array) -> None:
    """Refuse NaN and infinity, naming the first place.

    Raises:
        RequestError: there is one.
    """
    if array.dtype.char not in _FLOAT_CHARS or math.isfinite(_sum(array)):
        return
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):  # a sum may overflow though each element is finite
        where = bad[0].tolist()
        raise RequestError(f"input {name!r} must be finite, got {array[tuple(where)]} at {where}")


def _sum(array: Array) -> float:
    # A sum is NaN or infinite if any element is, and needs no temporary array as `isfinite` does. BLAS, which `vdot`
    # calls for the usual types, warns of no overflow; where numpy sums itself, that warning must be kept quiet.
    if array.dtype.char in "fd":
        flat = array.ravel()
        return float(np.vdot(flat, flat))
    with np.errstate(over="ignore", invalid="ignore"):
        return float(array.sum())


def _numbers(name: str, datatype: str, data: list[Any]) -> Array:
    dtype = DTYPES[datatype]
    try:
        array = np.array(data)
    except ValueError as error:
        raise RequestError(f"input {name!r}: nested data must be rectangular: {error}") from error
    if array.size == 0:
        return array.astype(dtype)
    if array.dtype == object and any(isinstance(element, list) for element in array.flat):
        raise RequestError(f"input {name!r}: nested data must be rectangular and at most {array.ndim} levels deep")
    if dtype.kind in "iu" and array.dtype.kind in "fO" and not _first_misfit(data, dtype):
        array = np.array(data, dtype=object)  # whole numbers beyond int64, which numpy would take for floats
        allowed = True
    elif dtype.kind == "b":
        allowed = array.dtype.kind == "b" or (array.dtype.kind in "iu" and bool(np.isin(array, (0, 1)).all()))
    elif dtype in _FLOATS:
        allowed = array.dtype.kind in "iuf"
    else:
        allowed = array.dtype.kind in "iu"
    if not allowed:
        misfit = _first_misfit(data, dtype) or "a number beyond 64 bits"
        raise RequestError(f"input {name!r}: {datatype} cannot hold {misfit}")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise RequestError(f"input {name!r}: {datatype} lies in [{limits.min}, {limits.max}], got {low} to {high}")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _first_misfit(data: list[Any], dtype: np.dtype[Any]) -> str:
    kinds = (int, float) if dtype in _FLOATS else (bool,) if dtype.kind == "b" else (int,)
    for element in _elements(data):
        if not isinstance(element, kinds) or (dtype.kind != "b" and isinstance(element, bool)):
            return repr(element)[:80]
    return ""


def _text(name: str, element: str | bytes) -> str:
    try:
        return element if isinstance(element, str) else element.decode()
    except UnicodeDecodeError as error:
        rule = "holds bytes that are no UTF-8, which JSON cannot carry: ask for it with binary_data true"
        raise RequestError(f"output {name!r} {rule}") from error


def _bytes_elements(name: str, data: list[Any]) -> Array:
    flat = list(_elements(data))
    for element in flat:
        if not isinstance(element, str):
            raise RequestError(f"input {name!r}: BYTES takes strings, got {element!r}")
    array = np.empty(len(flat), dtype=object)
    array[:] = [element.encode() for element in flat]
    return array


def _elements(data: list[Any]) -> Iterator[Any]:
    """What lies in lists of lists, in order. Without recursion: a request may nest deeper than Python's stack."""
    waiting = [iter(data)]
    while waiting:
        for element in waiting[-1]:
            if isinstance(element, list):
                waiting.append(iter(element))
                break
            yield element
        else:
            waiting.pop()


def _split_bytes(name: str, count: int, raw: memoryview) -> Array:
    elements: list[bytes] = []
    at = 0
    while at < len(raw):
        if at + 4 > len(raw):
            raise RequestError(f"input {name!r}: an element's 4-byte length is cut off at byte {at}")
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4
        if at + size > len(raw):
            raise RequestError(f"input {name!r}: element {len(elements)} takes {size} bytes, {len(raw) - at} are left")
        elements.append(bytes(raw[at : at + size]))
        at += size
    if len(elements) != count:
        raise RequestError(f"input {name!r}: the shape takes {count} elements, got {len(elements)}")
    array = np.empty(count, dtype=object)
    array[:] = elements
    return array
