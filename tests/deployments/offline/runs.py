"""What the tests of offline scoring share: runs in this process, and models that take texts, tokens and pictures."""

from pathlib import Path
from typing import Any

import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, pre_tokenizers

from deployments.offline.model import model
from deployments.offline.run import Order, Progress, score
from deployments.offline.worker import here
from optimization.artifact.store import Artifact, publish

WORDS = ["[PAD]", "one", "two", "three"]


def run(artifact: Artifact, given: Path | str, output: Path | str, **options: Any) -> Progress:
    """Score in this process."""
    chosen = model(str(artifact.path), "artifacts", None)
    return score(Order(model=chosen, input=str(given), output=str(output), **options), here)


def written(output: Path) -> pa.Table:
    """All rows that were written, in order."""
    return pa.concat_tables(pq.read_table(part) for part in sorted(output.glob("part-*.parquet")))


def publish_adder(root: Path, *, takes_text: bool = True) -> Artifact:
    """A model of texts whose output `total` is the sum of the numbers of its words, and `ids` what it was given."""
    root.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(root / "tokenizer.json"))
    names = ["input_ids", "attention_mask"]
    axes = helper.make_node("Constant", [], ["axes"], value_ints=[1])
    nodes = [
        helper.make_node("Mul", names, ["ids"]),
        axes,
        helper.make_node("ReduceSum", ["ids", "axes"], ["total"], keepdims=1),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names]
    sizes: dict[str, list[int | str]] = {"total": ["batch", 1], "ids": ["batch", "sequence"]}
    wanted = ["total"] if takes_text else ["total", "ids"]
    outputs = [helper.make_tensor_value_info(name, TensorProto.INT64, sizes[name]) for name in wanted]
    _save(root / "adder.onnx", nodes, inputs, outputs)
    text = {"kind": "text", "max_length": 16}
    return publish(
        root,
        {"model.onnx": root / "adder.onnx"} | ({"tokenizer.json": root / "tokenizer.json"} if takes_text else {}),
        name="adder",
        inputs=[{"name": name, "datatype": "INT64", "shape": ["batch", "sequence"]} for name in names],
        outputs=[{"name": name, "datatype": "INT64", "shape": sizes[name]} for name in wanted],
        preprocessing=text if takes_text else None,
    )


def publish_brightness(root: Path) -> Artifact:
    """A model of grey pictures of 2 x 2 pixels whose output is their largest value."""
    root.mkdir(parents=True, exist_ok=True)
    axes = helper.make_node("Constant", [], ["axes"], value_ints=[1, 2, 3])
    nodes = [axes, helper.make_node("ReduceMax", ["pixels", "axes"], ["brightness"], keepdims=0)]
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 2, 2])]
    outputs = [helper.make_tensor_value_info("brightness", TensorProto.FLOAT, ["batch"])]
    _save(root / "brightness.onnx", nodes, inputs, outputs)
    return publish(
        root,
        {"model.onnx": root / "brightness.onnx"},
        name="brightness",
        inputs=[{"name": "pixels", "datatype": "FP32", "shape": ["batch", 1, 2, 2]}],
        outputs=[{"name": "brightness", "datatype": "FP32", "shape": ["batch"]}],
        preprocessing={"kind": "picture", "height": 2, "width": 2, "channels": 1},
    )


def _save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> None:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
