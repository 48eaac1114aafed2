"""A tensor of each datatype, as the clients' numpy has it."""

import ml_dtypes
import numpy as np

DATATYPES = {
    "BOOL": np.bool_,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
}


def example(datatype):
    """Two samples of two elements, the extremes of the type among them."""
    if datatype == "BYTES":
        return np.array([["", "déjà vu"], ["nul\0", "b'x'"]], dtype=object)
    if datatype == "BF16":
        return np.array([[0, 1.5], [-2, 256]], ml_dtypes.bfloat16)
    dtype = DATATYPES[datatype]
    limits = [0, 1] if datatype == "BOOL" else [np.iinfo(dtype).min, np.iinfo(dtype).max] if "INT" in datatype else None
    return np.array([[0, 1], limits or [np.finfo(dtype).min, np.finfo(dtype).max]]).astype(dtype)


def text(array):
    """The elements of BYTES as text: clients give them as bytes."""
    return [[element.decode() if isinstance(element, bytes) else element for element in row] for row in array.tolist()]
