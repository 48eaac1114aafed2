from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from optimization.graphs import graph, simplify
from optimization.quantization import sensitivity
from tests.optimization import architectures


@pytest.mark.parametrize("family", ["resnet", "encoder"])
def test_simplified_graph_is_smaller_and_computes_the_same(tmp_path: Path, family: str) -> None:
    path, batch = architectures.export(*architectures.build(family), tmp_path / "m.onnx")
    before, expected = onnx.load(path), sensitivity.predict(path, [batch])
    simplify.simplify(path)
    after = onnx.load(path)
    assert len(after.graph.node) <= len(before.graph.node)
    assert path.stat().st_size < len(before.SerializeToString())
    assert graph.inputs(after) == graph.inputs(before), "dimensions keep their names"
    assert not any(node.metadata_props or node.doc_string for node in after.graph.node)
    for size in (1, 3):
        part = {name: values[:size] for name, values in batch.items()}
        np.testing.assert_allclose(sensitivity.predict(path, [part]), expected[:size], atol=1e-5)


def test_attention_is_written_out_in_fewer_nodes_and_gelu_in_one(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model, example = architectures.build("bert")
    path, batch = architectures.export(model, example, tmp_path / "usual.onnx")
    with simplify.plain_attention(model):
        plain, _ = architectures.export(model, example, tmp_path / "plain.onnx")
    assert model.model.config._attn_implementation == "sdpa", "put back"
    operators = [Counter(node.op_type for node in onnx.load(each).graph.node) for each in (path, plain)]
    assert operators[1].total() < 0.85 * operators[0].total()
    assert operators[1]["Gelu"] == 3
    np.testing.assert_allclose(sensitivity.predict(plain, [batch]), sensitivity.predict(path, [batch]), atol=1e-5)
