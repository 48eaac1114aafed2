"""Models that protocol clients are tried with, the ones that Triton's examples expect, as ONNX; what a server says."""

import time
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from benchmarks.servers import Server
from optimization.artifact.store import Artifact, publish

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
}


def publish_simple(root: Path) -> Artifact:
    """Triton's `simple`: the sum and the difference of two tensors of 16 integers."""
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    inputs, outputs = (dict.fromkeys((f"{side}0", f"{side}1"), "INT32") for side in ("INPUT", "OUTPUT"))
    return _publish(root, "simple", nodes, inputs, outputs, size=16)


def publish_string(root: Path) -> Artifact:
    """Triton's `simple_string`: the same of integers that are written as text."""
    nodes = [
        helper.make_node("Cast", ["INPUT0"], ["first"], to=TensorProto.INT32),
        helper.make_node("Cast", ["INPUT1"], ["second"], to=TensorProto.INT32),
        helper.make_node("Add", ["first", "second"], ["sum"]),
        helper.make_node("Sub", ["first", "second"], ["difference"]),
        helper.make_node("Cast", ["sum"], ["OUTPUT0"], to=TensorProto.STRING),
        helper.make_node("Cast", ["difference"], ["OUTPUT1"], to=TensorProto.STRING),
    ]
    inputs, outputs = (dict.fromkeys((f"{side}0", f"{side}1"), "BYTES") for side in ("INPUT", "OUTPUT"))
    return _publish(root, "simple_string", nodes, inputs, outputs, size=16)


ALL_BUT_BF16 = tuple(datatype for datatype in ONNX_TYPES if datatype != "BF16")
"""ONNX Runtime's Python binding does not run BF16 and BYTES in one model."""


def publish_same(root: Path, datatypes: tuple[str, ...] = ALL_BUT_BF16, name: str = "same") -> Artifact:
    """A model that gives back what it is given: `in_<datatype>` as `out_<datatype>`."""
    nodes = [helper.make_node("Identity", [f"in_{datatype}"], [f"out_{datatype}"]) for datatype in datatypes]
    inputs, outputs = ({f"{side}_{datatype}": datatype for datatype in datatypes} for side in ("in", "out"))
    return _publish(root, name, nodes, inputs, outputs, size=2)


def publish_all(root: Path) -> list[Artifact]:
    """The models that `tests/clients` asks."""
    return [publish_simple(root), publish_same(root), publish_same(root, ("BF16",), name="same_bf16")]


def wait_until_said(server: Server, text: str) -> None:
    """Return when the server has printed `text`; its banner looks for an answer three times a second."""
    deadline = time.time() + 10
    while text not in server.log.read_text():
        assert time.time() < deadline, server.log.read_text()
        time.sleep(0.2)


def _publish(
    root: Path, name: str, nodes: list[onnx.NodeProto], inputs: dict[str, str], outputs: dict[str, str], size: int
) -> Artifact:
    tensors = [
        [helper.make_tensor_value_info(tensor, ONNX_TYPES[datatype], ["batch", size]) for tensor, datatype in side]
        for side in (inputs.items(), outputs.items())
    ]
    graph = helper.make_graph(nodes, name, *tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    root.mkdir(parents=True, exist_ok=True)
    source = root / f"{name}-source.onnx"
    onnx.save(model, source)
    specs = [
        [{"name": tensor, "datatype": datatype, "shape": ["batch", size]} for tensor, datatype in side]
        for side in (inputs.items(), outputs.items())
    ]
    return publish(root, {"model.onnx": source}, name=name, inputs=specs[0], outputs=specs[1])
