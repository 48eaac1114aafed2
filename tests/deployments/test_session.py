"""ONNX Runtime behind the protocol's datatypes: every one of them through a real session."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deployments.errors import RequestError
from deployments.session import Session
from deployments.tensors import DTYPES
from optimization.artifact import publish

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
    **{
        f"{sign}INT{bits}": TensorProto.DataType.Value(f"{sign}INT{bits}")
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
    },
}


def session(root, datatype):
    """A model that gives back what it is given."""
    tensors = [helper.make_tensor_value_info(name, ONNX_TYPES[datatype], ["batch", 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, root / "same.onnx")
    specs = [[{"name": name, "datatype": datatype, "shape": ["batch", 2]}] for name in ("x", "y")]
    artifact = publish(
        root / "artifacts", {"model.onnx": root / "same.onnx"}, name="same", inputs=specs[0], outputs=specs[1]
    )
    return Session(artifact, num_threads=1, max_batch_size=8)


def test_every_datatype_of_the_protocol_is_covered():
    assert ONNX_TYPES.keys() == DTYPES.keys()


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_a_tensor_survives_the_session(tmp_path, datatype):
    if datatype == "BYTES":
        array = np.array([[b"", "déjà".encode()], [b"nul\0", b"b'x'"]], dtype=object)
    else:
        array = np.array([[0, 1], [1, 0]]).astype(DTYPES[datatype])
    (same,) = session(tmp_path, datatype).run({"x": array}).values()
    if datatype == "BYTES":
        same = np.vectorize(str.encode, otypes=[object])(same)
    assert same.dtype == array.dtype
    assert same.tolist() == array.tolist()


def test_text_that_is_not_utf8_is_the_clients_error(tmp_path):
    with pytest.raises(RequestError, match="input 'x': the model takes text, element 1 is no UTF-8"):
        session(tmp_path, "BYTES").run({"x": np.array([[b"a", b"\xff"]], dtype=object)})
