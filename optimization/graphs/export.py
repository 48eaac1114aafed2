"""Exports a torch model as one ONNX file with a dynamic batch, and checks that both compute the same."""

import json
import logging
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.errors import ExportError
from optimization.graphs import graph, simplify, torch_private
from optimization.readers.examples import Inputs, Split, dynamic_axes
from optimization.tasks.task import LabelledTask

TOLERANCE = 1e-4
"""How far the ONNX model's outputs may be from the torch model's."""

_DATATYPES = {
    "float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "int16": "INT16", "int8": "INT8",
    "uint8": "UINT8", "bool": "BOOL",
}  # fmt: skip

PARITY_SAMPLES = 1024
BATCH_SIZES = (1, 3, 32)
"""Batch sizes parity is checked at: one, odd, and larger than the example the graph was traced with."""


def export(model: nn.Module, path: Path, split: Split, *, task: LabelledTask) -> None:
    """Write `model`, which gives logits, in the form that the task serves to `path`; inputs are named as in `split`.

    Raises:
        ExportError: something the model computes cannot be written in ONNX.
    """
    served = task.served(model).eval()
    axes, example = dynamic_axes(split), tensors(split.batch(np.arange(2)))
    with torch.inference_mode():
        num_outputs = served(*example).shape[-1]
    dims = {name: torch.export.Dim(name) for named in axes.values() for name in named.values()}
    torch_private.read_operators_once()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of its own opset conversions
    with warnings.catch_warnings(), simplify.plain_attention(served):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                served,
                example,
                input_names=list(axes),
                output_names=[task.output_name(num_outputs)],
                dynamic_shapes=(tuple({axis: dims[name] for axis, name in named.items()} for named in axes.values()),),
                dynamo=True,
                opset_version=simplify.OPSET,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"the model must be exportable to ONNX, got {_reason(error)}") from error
    assert program is not None
    program.save(str(path), external_data=False)
    simplify.simplify(path)


def _reason(error: BaseException) -> str:
    """What went wrong at first, in a line; the exporter wraps it in how to report it."""
    while error.__cause__ is not None:
        error = error.__cause__
    first, _, _ = str(error).strip().partition("\n")
    return f"{type(error).__name__}: {first}"


def tensors(batch: Inputs) -> tuple[Tensor, ...]:
    """The batch as a torch model takes it."""
    return tuple(torch.from_numpy(values) for values in batch.values())


def example(split: Split, num: int) -> tuple[Tensor, ...]:
    """The first `num` samples, or all where there are fewer, as a torch model takes them."""
    return tensors(split.batch(np.arange(min(num, len(split)))))


def parity(model: nn.Module, path: Path, split: Split, *, task: LabelledTask, seed: int) -> float:
    """Largest absolute difference between the torch model and the ONNX file, on `split` and on random batches.

    Raises:
        ExportError: it is larger than `TOLERANCE`, or the file takes only the shapes that it was traced with.
    """
    served = task.served(model).eval()
    session = graph.session(path)
    random = np.random.default_rng(seed)
    batches = [random_batch(split, size, random) for size in BATCH_SIZES]
    worst = 0.0
    real = split.take(random.permutation(len(split))[:PARITY_SAMPLES])
    for batch in [*(batch for _, batch in real.batches(256)), *batches]:
        with torch.inference_mode():
            expected = served(*tensors(batch)).numpy()
        worst = max(worst, float(np.abs(_predicted(session, batch) - expected).max()))
    if not worst <= TOLERANCE:
        raise ExportError(f"the ONNX model must equal the torch model to {TOLERANCE}, got a difference of {worst}")
    return worst


def _predicted(session: onnxruntime.InferenceSession, batch: Inputs) -> NDArray[np.float32]:
    try:
        return graph.predict(session, batch)
    except Exception as error:  # ONNX Runtime's errors share no base but this
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in batch.items())
        reason = " ".join(str(error).split())
        raise ExportError(f"the ONNX model must take batches of any size and length, got {shapes}: {reason}") from error


def random_batch(split: Split, size: int, random: np.random.Generator) -> Inputs:
    """Values between the smallest and the largest of each element; texts of a random length, without padding."""
    batch = split.batch(np.arange(min(len(split), 256)))
    longest = max(values.shape[1] for values in batch.values() if values.ndim > 1)
    length = None if split.lengths is None else int(random.integers(1, longest + 1))
    made: Inputs = {}
    for name, values in batch.items():
        values = values if length is None or values.ndim == 1 else values[:, :length]
        low, high, shape = values.min(axis=0), values.max(axis=0), (size, *values.shape[1:])
        if values.dtype.kind == "f":
            made[name] = random.uniform(low, high, shape).astype(values.dtype)
        elif name.endswith("mask"):
            made[name] = np.ones(shape, values.dtype)
        else:
            made[name] = random.integers(low, high, shape, dtype=values.dtype, endpoint=True)
    return made


def save_example(sample: Inputs, path: Path) -> None:
    """Write an Open Inference Protocol request for a batch of one sample."""
    inputs = [
        {
            "name": name,
            "datatype": _DATATYPES[values.dtype.name],
            "shape": list(values.shape),
            "data": values.ravel().tolist(),
        }
        for name, values in sample.items()
    ]
    path.write_text(json.dumps({"inputs": inputs}))
