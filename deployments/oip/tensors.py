"""Tensors on the wire: the protocol's datatypes, as JSON numbers and as little-endian bytes.

Open Inference Protocol v2 and its binary tensor data extension:
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deployments.errors import RequestError, brief

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

_CODES = {
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
}
"""What `struct` calls them; of bfloat16 it knows nothing."""

_FLOATS = frozenset(dtype for name, dtype in DTYPES.items() if name.startswith(("FP", "BF")))
_FLOAT_CHARS = frozenset(dtype.char for dtype in _FLOATS)


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> Array:
    """The tensor whose elements are `data`, flat or nested, in row-major order.

    Number and types are checked before numpy sees any element: among texts, it would make room for each as for the
    longest.

    Raises:
        RequestError: an element is not of the datatype, or their number does not fit the shape.
    """
    if not isinstance(data, list):
        raise RequestError(f"input {name!r}: data must be a list, got {type(data).__name__}")
    elements = _flat(name, data)
    if len(elements) != math.prod(shape):
        _check_types(name, datatype, elements)
        raise RequestError(
            f"input {name!r}: shape {list(shape)} takes {math.prod(shape)} elements, data has {len(elements)}"
        )
    if not elements:
        return np.empty(shape, DTYPES[datatype])
    return _MAKE[DTYPES[datatype].kind](name, datatype, elements).reshape(shape)


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


def _flat(name: str, data: list[Any]) -> list[Any]:
    """What lies in lists of lists, in order. A level at a time, since a request may nest deeper than Python's stack."""
    depth = 1
    while data and type(data[0]) is list:
        if set(map(type, data)) != {list} or len(set(map(len, data))) > 1:
            raise RequestError(f"input {name!r}: nested data must be rectangular, got others at level {depth}")
        data = list(chain.from_iterable(data))
        depth += 1
    return data


def _floats(name: str, datatype: str, elements: list[Any]) -> Array:
    if datatype in _CODES and type(elements[0]) is not bool:
        try:
            return _packed(datatype, elements)
        except (struct.error, OverflowError):
            pass  # the types are to blame, or a number is infinite in this one
    _check_types(name, datatype, elements)
    with np.errstate(over="ignore"):
        return np.array(elements, np.float64).astype(DTYPES[datatype])


def _integers(name: str, datatype: str, elements: list[Any]) -> Array:
    if type(elements[0]) is not bool:
        try:
            return _packed(datatype, elements)
        except struct.error:
            pass
    _check_types(name, datatype, elements)
    limits = np.iinfo(DTYPES[datatype])
    got = f"{brief(min(elements))} to {brief(max(elements))}"
    raise RequestError(f"input {name!r}: {datatype} lies in [{limits.min}, {limits.max}], got {got}")


def _packed(datatype: str, elements: list[Any]) -> Array:
    """By `struct`, which is twice as fast as numpy, takes numbers alone and says itself what does not fit."""
    return np.frombuffer(struct.pack(f"<{len(elements)}{_CODES[datatype]}", *elements), DTYPES[datatype])


def _booleans(name: str, datatype: str, elements: list[Any]) -> Array:
    _check_types(name, datatype, elements)
    if not {0, 1}.issuperset(elements):
        wrong = next(element for element in elements if element not in (0, 1))
        raise RequestError(f"input {name!r}: {datatype} cannot hold {brief(wrong)}")
    return np.array(elements, np.bool_)


def _strings(name: str, datatype: str, elements: list[Any]) -> Array:
    _check_types(name, datatype, elements)
    return _objects([element.encode() for element in elements])


def _objects(elements: list[bytes]) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


_MAKE = {"f": _floats, "V": _floats, "i": _integers, "u": _integers, "b": _booleans, "O": _strings}
"""What makes a tensor of elements, by the kind of numpy's type; bfloat16 is of the kind V."""
_ALLOWED: dict[str, frozenset[type]] = {
    "f": frozenset((float, int)),
    "V": frozenset((float, int)),
    "i": frozenset((int,)),
    "u": frozenset((int,)),
    "b": frozenset((bool, int)),
    "O": frozenset((str,)),
}
"""Types that the elements may have in JSON."""


def _check_types(name: str, datatype: str, elements: list[Any]) -> None:
    """Refuse what is not of the datatype, naming the first."""
    allowed = _ALLOWED[DTYPES[datatype].kind]
    if allowed.issuperset(map(type, elements)):
        return
    wrong = next(element for element in elements if type(element) not in allowed)
    rule = "BYTES takes strings, got" if datatype == "BYTES" else f"{datatype} cannot hold"
    raise RequestError(f"input {name!r}: {rule} {brief(wrong)}")


def _text(name: str, element: str | bytes) -> str:
    try:
        return element if isinstance(element, str) else element.decode()
    except UnicodeDecodeError as error:
        rule = "holds bytes that are no UTF-8, which JSON cannot carry: ask for it with binary_data true"
        raise RequestError(f"output {name!r} {rule}") from error


def _split_bytes(name: str, count: int, raw: memoryview) -> Array:
    total = len(raw)
    if 4 * count > total:
        raise RequestError(f"input {name!r}: the shape takes {count} elements, got at most {total // 4}")
    whole, length_at = bytes(raw), struct.Struct("<I").unpack_from
    elements: list[bytes] = []
    at = 0
    while at + 4 <= total and len(elements) < count:
        begin = at + 4
        at = begin + length_at(whole, at)[0]
        elements.append(whole[begin:at])
    if at > total:
        begin = total - len(elements[-1])
        raise RequestError(
            f"input {name!r}: element {len(elements) - 1} takes {at - begin} bytes, {total - begin} are left"
        )
    if len(elements) < count or at < total:
        got = f"{len(elements)} and {total - at} bytes more" if at < total else str(len(elements))
        raise RequestError(f"input {name!r}: the shape takes {count} elements, got {got}")
    return _objects(elements)
