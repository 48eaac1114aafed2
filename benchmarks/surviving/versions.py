"""A classifier, and versions of it that are bad in one way each."""

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.servers import Server
from benchmarks.surviving.clients import Client, HttpCalls
from optimization.artifact import store
from optimization.artifact.store import Artifact, publish

Fault = Literal["none", "errors", "latency", "fidelity", "leak"]

NAME = "tried"
WIDTH, HIDDEN, LAYERS, CLASSES = 64, 512, 8, 4
ERRORS, UNFAITHFUL, LEAKING = 0.05, 0.03, 0.02
"""Of the requests: those that fail, whose class is another, and in which memory is taken that is not given back."""
LEAKED_PER_S = 25_000
"""Numbers of four bytes by which that grows."""
BODIES = 512


def version(root: Path, fault: Fault = "none", *, num_more: int = 1) -> Artifact:
    """Publish the next version. Of a row `x` [batch, 64] the first three numbers, evenly spread over [0, 1), decide
    whether the fault shows, and the fourth is the time in seconds, which tells how much a leak has taken. One that is
    slow has all layers `num_more` times more, of which nothing comes.
    """
    random = np.random.default_rng(0)
    weights = _numbers()
    nodes = [helper.make_node("Sub", ["x", "half"], ["centred"])]
    sizes = list(itertools.pairwise((WIDTH, *[HIDDEN] * LAYERS, CLASSES)))
    for number, (rows, columns) in enumerate(sizes):
        values = (2 * random.standard_normal((rows, columns)) / rows**0.5).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"weights{number}"))
    nodes += _layers("centred", "logits", "once", len(sizes))
    if fault == "latency":
        for number in range(num_more):  # of other numbers by the same weights, lest the result be used again
            weights.append(numpy_helper.from_array(np.array(1 / (number + 2), np.float32), f"share{number}"))
            nodes.append(helper.make_node("Mul", ["centred", f"share{number}"], [f"centred{number}"]))
            nodes += _layers(f"centred{number}", f"others{number}", f"more{number}", len(sizes))
    nodes += _latency(num_more) if fault == "latency" else _FAULTS[fault]()
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / store.MODEL
        onnx.save(model, file)
        return publish(
            root,
            {store.MODEL: file},
            name=NAME,
            inputs=[{"name": "x", "datatype": "FP32", "shape": ("batch", WIDTH)}],
            outputs=[{"name": "y", "datatype": "FP32", "shape": ("batch", CLASSES), "meaning": "logits"}],
        )


def copied(artifact: Artifact, name: str) -> Artifact:
    """Publish the same model as the next version of that name."""
    manifest = artifact.manifest
    return publish(
        artifact.path.parents[1],
        {store.MODEL: artifact.path / store.MODEL},
        name=name,
        inputs=[each.model_dump() for each in manifest.inputs],
        outputs=[each.model_dump() for each in manifest.outputs],
    )


def call_s(artifact: Artifact, number: int = 300) -> float:
    """Median seconds of a call of one row, by one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(artifact.model_path, options, providers=["CPUExecutionProvider"])
    row = np.random.default_rng(0).random((1, WIDTH)).astype(np.float32)
    took_s = []
    for _ in range(number):
        began = time.perf_counter()
        session.run(None, {"x": row})
        took_s.append(time.perf_counter() - began)
    return float(np.median(took_s))


class Calls(HttpCalls):
    """Requests of rows that differ, over one connection that stays."""

    def __init__(self, server: Server, seed: int, name: str = NAME) -> None:
        super().__init__(server.http_port, f"/v2/models/{name}/infer", b"")
        rows = np.random.default_rng(seed).random((BODIES, WIDTH)).astype(np.float32)
        self._rows: Iterator[Any] = iter(())
        self._all = rows
        self._began_s = time.monotonic()

    async def ask(self) -> str | None:
        """One request."""
        row = next(self._rows, None)
        if row is None:
            self._rows = iter(self._all)
            row = next(self._rows)
        row[3] = time.monotonic() - self._began_s
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, WIDTH], "data": row.tolist()}
        self.say(json.dumps({"inputs": [tensor]}).encode())
        return await super().ask()


def calls(server: Server, number: int = 8, name: str = NAME) -> list[Client]:
    """So many connections."""
    return [Calls(server, seed, name) for seed in range(number)]


def _numbers() -> list[onnx.TensorProto]:
    """What the faults count with."""
    scalars = {"errors": ERRORS / 2, "unfaithful": UNFAITHFUL, "leaking": LEAKING, "per_s": LEAKED_PER_S}
    floats = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in scalars.items()]
    columns = [numpy_helper.from_array(np.array([at], np.int64), f"column{at}") for at in range(4)]
    others: dict[str, Any] = {
        "far": np.int64(10**9),
        "minus": np.float32(-1),
        "one": np.float32(1),
        "none": np.float32(0),
        "half": np.float32(0.5),
    }
    others["minus_list"] = np.array([-1], np.float32)
    return [*floats, *columns, *(numpy_helper.from_array(np.asarray(value), name) for name, value in others.items())]


def _layers(before: str, output: str, name: str, number: int) -> list[onnx.NodeProto]:
    """All layers, from `before` to `output`; `name` tells their results from others."""
    nodes = []
    for at in range(number):
        last = at == number - 1
        product = output if last else f"{name}_product{at}"
        nodes.append(helper.make_node("MatMul", [before, f"weights{at}"], [product]))
        if not last:
            before = f"{name}_layer{at}"
            nodes.append(helper.make_node("Tanh", [product], [before]))
    return nodes


def _none() -> list[onnx.NodeProto]:
    return [helper.make_node("Identity", ["logits"], ["y"])]


def _latency(num_more: int) -> list[onnx.NodeProto]:
    """So many times as many layers more, of which nothing comes."""
    return [
        helper.make_node("Sum", [f"others{number}" for number in range(num_more)], ["others"]),
        helper.make_node("Mul", ["others", "none"], ["nothing"]),
        helper.make_node("Add", ["logits", "nothing"], ["y"]),
    ]


def _errors() -> list[onnx.NodeProto]:
    """Some rows are looked up where there are none, which ONNX Runtime refuses; not those that it is warmed up with."""
    return [
        helper.make_node("Gather", ["x", "column0"], ["chance"], axis=1),
        helper.make_node("Sub", ["chance", "half"], ["beside"]),
        helper.make_node("Abs", ["beside"], ["distance"]),
        helper.make_node("Less", ["distance", "errors"], ["fails"]),
        helper.make_node("Cast", ["fails"], ["fails_number"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["fails_number"], ["any"], keepdims=0),
        helper.make_node("Mul", ["any", "far"], ["where"]),
        helper.make_node("Gather", ["minus_list", "where"], ["looked_up"], axis=0),
        helper.make_node("Mul", ["looked_up", "none"], ["nothing"]),
        helper.make_node("Add", ["logits", "nothing"], ["y"]),
    ]


def _fidelity() -> list[onnx.NodeProto]:
    """The largest logit of some rows becomes the smallest."""
    return [
        helper.make_node("Gather", ["x", "column1"], ["chance"], axis=1),
        helper.make_node("Less", ["chance", "unfaithful"], ["is_other"]),
        helper.make_node("Where", ["is_other", "minus", "one"], ["sign"]),
        helper.make_node("Mul", ["logits", "sign"], ["y"]),
    ]


def _leak() -> list[onnx.NodeProto]:
    """Some requests take memory by the time that has gone, which ONNX Runtime's arena keeps."""
    scalar = helper.make_tensor_value_info("taken", TensorProto.FLOAT, [])
    zeros = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    takes = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["size"], ["memory"], value=zeros),
            helper.make_node("ReduceMin", ["memory"], ["taken"], keepdims=0),
        ],
        "takes",
        [],
        [scalar],
    )
    spares = helper.make_graph([helper.make_node("Identity", ["one"], ["taken"])], "spares", [], [scalar])
    return [
        helper.make_node("Gather", ["x", "column2"], ["chance"], axis=1),
        helper.make_node("Gather", ["x", "column3"], ["seconds"], axis=1),
        helper.make_node("ReduceMin", ["chance"], ["least"], keepdims=0),
        helper.make_node("ReduceMax", ["seconds"], ["latest"], keepdims=0),
        helper.make_node("Mul", ["latest", "per_s"], ["some"]),
        helper.make_node("Abs", ["some"], ["numbers"]),
        helper.make_node("Cast", ["numbers"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "column1"], ["size"]),
        helper.make_node("Less", ["least", "leaking"], ["leaks"]),
        helper.make_node("If", ["leaks"], ["factor"], then_branch=takes, else_branch=spares),
        helper.make_node("Mul", ["logits", "factor"], ["y"]),
    ]


_FAULTS = {"none": _none, "errors": _errors, "fidelity": _fidelity, "leak": _leak}
