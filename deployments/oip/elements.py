"""Elements that ONNX Runtime's Python binding takes only in a form of its own: text and bfloat16."""

import ctypes
from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
from onnx import TensorProto

from deployments.errors import RequestError
from deployments.oip.tensors import DTYPES, Array

_BFLOAT16 = DTYPES["BF16"]


def as_text(name: str, array: Array) -> Array:
    """`array` of BYTES as strings, which is what an ONNX string tensor holds.

    Raises:
        RequestError: an element is not UTF-8.
    """
    texts = np.empty(array.shape, dtype=object)
    for index, element in enumerate(array.flat):
        try:
            texts.flat[index] = element.decode() if isinstance(element, bytes) else element
        except UnicodeDecodeError as error:
            raise RequestError(f"input {name!r}: the model takes text, element {index} is no UTF-8: {error}") from error
    return texts


def run_bfloat16(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Mapping[str, Array]
) -> list[Array]:
    """`session.run` for a model with bfloat16 inputs or outputs: numpy has no such type, and `run` knows no other."""
    values = session.run_with_ort_values(outputs, {name: _value(array) for name, array in feeds.items()})
    return [_array(value) for value in values]


def _value(array: Array) -> onnxruntime.OrtValue:
    if array.dtype != _BFLOAT16:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    bits = np.ascontiguousarray(array).view(np.uint16)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, TensorProto.BFLOAT16)


def _array(value: onnxruntime.OrtValue) -> Array:
    if value.element_type() != TensorProto.BFLOAT16:
        array: Array = value.numpy()
        return array
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(raw, _BFLOAT16).reshape(value.shape())
