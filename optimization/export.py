"""Exports a torch model as one ONNX file with a dynamic batch, and checks that both compute the same."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from optimization import graph
from optimization.errors import ExportError
from optimization.models import Probabilities

TOLERANCE = 1e-4
"""How far the ONNX model's probabilities may be from the torch model's."""

BATCH_SIZES = (1, 3, 32)
"""Batch sizes parity is checked at: one, odd, and larger than the example the graph was traced with."""


def export(model: nn.Module, path: Path, *, num_features: int, num_outputs: int, input_name: str) -> None:
    """Write `model`, which gives logits, with its softmax or sigmoid to `path`."""
    served = Probabilities(model, num_outputs).eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of its own opset conversions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            served,
            (torch.zeros(2, num_features),),
            input_names=[input_name],
            output_names=[output_name(num_outputs)],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)
    _forget_origin(path)


def output_name(num_outputs: int) -> str:
    """Name of the output tensor."""
    return "probability" if num_outputs == 1 else "probabilities"


def parity(model: nn.Module, path: Path, inputs: NDArray[np.float32], *, num_outputs: int, seed: int) -> float:
    """Largest absolute difference between the torch model and the ONNX file, on `inputs` and on random batches.

    Raises:
        ExportError: it is larger than `TOLERANCE`.
    """
    served = Probabilities(model, num_outputs).eval()
    random = np.random.default_rng(seed)
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    batches = [random.uniform(low, high, (size, inputs.shape[1])).astype(np.float32) for size in BATCH_SIZES]
    session = graph.session(path)
    worst = 0.0
    for batch in [inputs, *batches]:
        with torch.inference_mode():
            expected = served(torch.from_numpy(batch)).numpy()
        worst = max(worst, float(np.abs(graph.predict(session, batch) - expected).max()))
    if not worst <= TOLERANCE:
        raise ExportError(f"the ONNX model must equal the torch model to {TOLERANCE}, got a difference of {worst}")
    return worst


def _forget_origin(path: Path) -> None:
    """Remove the stack traces the exporter writes into every node: they are large and name this machine's folders."""
    model = onnx.load(path)
    described: list[Any] = [*model.graph.node, *model.graph.input, *model.graph.output]
    described += [*model.graph.value_info, *model.graph.initializer]
    for each in described:
        del each.metadata_props[:]
        each.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    onnx.save(model, path)


def save_example(row: NDArray[np.float32], path: Path, *, input_name: str) -> None:
    """Write an Open Inference Protocol request for one sample, of shape [features]."""
    tensor = {"name": input_name, "datatype": "FP32", "shape": [1, len(row)], "data": row.tolist()}
    path.write_text(json.dumps({"inputs": [tensor]}))
