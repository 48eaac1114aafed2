from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from optimization.artifact.manifest import TensorSpec
from optimization.errors import ExportError
from optimization.graphs import export, graph
from optimization.networks import models
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import Cnn, Mlp


def exported(path: Path, dataset: Dataset, config: Mlp | Cnn) -> nn.Module:
    model = models.build(config, dataset, seed=0).eval()
    export.export(model, path, dataset.train, task=dataset.task)
    return model


@pytest.mark.parametrize(
    "config", [Mlp(kind="mlp", hidden=(8,)), Cnn(kind="cnn", channels=(4, 4), hidden=(8,))], ids=str
)
@pytest.mark.parametrize("size", [1, 3, 32])
def test_onnx_computes_what_torch_computes(tmp_path: Path, digits: Dataset, config: Mlp | Cnn, size: int) -> None:
    model = exported(tmp_path / "m.onnx", digits, config)
    batch = digits.held_out.batch(np.arange(size))
    with torch.inference_mode():
        expected = torch.softmax(model(*export.tensors(batch)), dim=1).numpy()
    got = graph.predict(graph.session(tmp_path / "m.onnx"), batch)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_one_file_holds_the_model_and_names_its_tensors(tmp_path: Path, tumours: Dataset) -> None:
    exported(tmp_path / "m.onnx", tumours, Mlp(kind="mlp", hidden=(10,)))
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    model = graph.read(tmp_path / "m.onnx")
    assert graph.inputs(model) == (TensorSpec(name="features", datatype="FP32", shape=("batch", 8)),)
    assert graph.outputs(model) == (TensorSpec(name="probability", datatype="FP32", shape=("batch", 1)),)


def test_file_does_not_name_where_it_was_made(tmp_path: Path, tumours: Dataset) -> None:
    exported(tmp_path / "m.onnx", tumours, Mlp(kind="mlp", hidden=(10,)))
    content = (tmp_path / "m.onnx").read_bytes()
    assert str(Path(export.__file__).parent).encode() not in content
    assert b".py" not in content
    assert not any(node.metadata_props for node in onnx.load(tmp_path / "m.onnx").graph.node)


def test_parity_refuses_another_model(tmp_path: Path, digits: Dataset) -> None:
    model = exported(tmp_path / "m.onnx", digits, Mlp(kind="mlp", hidden=(8,)))
    split = digits.held_out
    assert export.parity(model, tmp_path / "m.onnx", split, task=digits.task, seed=0) < 1e-5
    with torch.no_grad():
        model[-1].bias[0] += 0.1
    with pytest.raises(ExportError, match=r"must equal the torch model to 0.0001, got a difference of"):
        export.parity(model, tmp_path / "m.onnx", split, task=digits.task, seed=0)


def test_parity_refuses_a_file_of_one_shape(tmp_path: Path, tumours: Dataset) -> None:
    """As the exporter leaves where a model's own code reads a length."""
    model = exported(tmp_path / "m.onnx", tumours, Mlp(kind="mlp", hidden=(10,)))
    fixed = onnx.load(tmp_path / "m.onnx")
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(fixed, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=r"must take batches of any size and length, got features \[256, 8\]"):
        export.parity(model, tmp_path / "m.onnx", tumours.train, task=tumours.task, seed=0)
