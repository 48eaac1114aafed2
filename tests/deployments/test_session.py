"""ONNX Runtime behind the protocol's datatypes: every one of them through a real session."""

import numpy as np
import pytest

from deployments.errors import RequestError
from deployments.oip.tensors import DTYPES
from deployments.session import Session
from tests.served import ONNX_TYPES, publish_same


def session(root, datatype):
    """A model that gives back what it is given."""
    return Session(publish_same(root, (datatype,)), num_threads=1, max_batch_size=8)


def test_every_datatype_of_the_protocol_is_covered():
    assert ONNX_TYPES.keys() == DTYPES.keys()


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_a_tensor_survives_the_session(tmp_path, datatype):
    if datatype == "BYTES":
        array = np.array([[b"", "déjà".encode()], [b"nul\0", b"b'x'"]], dtype=object)
    else:
        array = np.array([[0, 1], [1, 0]]).astype(DTYPES[datatype])
    (same,) = session(tmp_path, datatype).run({f"in_{datatype}": array}).values()
    if datatype == "BYTES":
        same = np.vectorize(str.encode, otypes=[object])(same)
    assert same.dtype == array.dtype
    assert same.tolist() == array.tolist()


def test_text_that_is_not_utf8_is_the_clients_error(tmp_path):
    with pytest.raises(RequestError, match="input 'in_BYTES': the model takes text, element 1 is no UTF-8"):
        session(tmp_path, "BYTES").run({"in_BYTES": np.array([[b"a", b"\xff"]], dtype=object)})
