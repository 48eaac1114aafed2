from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from optimization.errors import GraphError
from optimization.quantization import quantize, sensitivity
from optimization.tasks.classification import Classification
from tests.optimization import architectures

INPUTS = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def prepared(tmp_path: Path) -> quantize.Prepared:
    """Three layers; an outlier among the weights of the second leaves its others without digits."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    with torch.no_grad():
        model[2].weight[:, 0] = 100
        model[0].weight[0] = 0
        model[0].bias[0] = -1  # the outlier's input is always 0
        model[4].weight *= 10
    path, batch = architectures.export(model, (INPUTS,), tmp_path / "fp32.onnx")
    return quantize.prepare(path, tmp_path, [batch], method="static")


BATCHES = [{"x": INPUTS.numpy()}]
SERVED: dict[str, Any] = {"task": Classification(), "output": "probabilities"}


def test_node_that_spoils_the_answers_is_found(prepared: quantize.Prepared) -> None:
    costs = sensitivity.scan(prepared, BATCHES, **SERVED)
    assert {node: cost.weight for node, cost in costs.items()} == prepared.nodes
    first, second, third = costs.values()
    assert second.weight == "model.2.weight"
    assert second.divergence > 10 * max(first.divergence, third.divergence)
    assert second.changed > max(first.changed, third.changed)


def test_only_the_spoiling_node_stays_in_fp32(prepared: quantize.Prepared, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    quantize.write(prepared, target)
    fp32 = sensitivity.predict(prepared.path, BATCHES).argmax(axis=1)
    everything = (sensitivity.predict(target, BATCHES).argmax(axis=1) != fp32).mean()
    outcome = sensitivity.within(prepared, target, BATCHES, max_changed=0.03, **SERVED)
    assert outcome.kept == (list(prepared.nodes)[1],)
    assert outcome.changed == (sensitivity.predict(target, BATCHES).argmax(axis=1) != fp32).mean() <= 0.03 < everything
    graph = onnx.load(target).graph
    constants = {each.name for each in graph.initializer}
    (kept,) = [node for node in graph.node if node.name in outcome.kept]
    assert constants.intersection(kept.input), "its weight is a plain constant"


def test_all_nodes_go_to_int8_where_the_budget_allows(prepared: quantize.Prepared, tmp_path: Path) -> None:
    outcome = sensitivity.within(prepared, tmp_path / "int8.onnx", BATCHES, max_changed=1.0, **SERVED)
    assert outcome.kept == ()
    assert outcome.costs == {}


def test_budget_that_no_node_meets_is_refused(prepared: quantize.Prepared, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"quantize\.max_changed must be at least .* got -1\.0"):
        sensitivity.within(prepared, tmp_path / "int8.onnx", BATCHES, max_changed=-1.0, **SERVED)
