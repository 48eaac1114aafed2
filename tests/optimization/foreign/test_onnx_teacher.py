"""An ONNX file of one's own as teacher: what it gives is known from its graph, or said, or refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from rich.console import Console

from optimization.artifact import store
from optimization.artifact.manifest import Manifest, Meaning
from optimization.errors import CompareError, GraphError, RecipeError
from optimization.graphs import export, graph
from optimization.networks import models
from optimization.readers.examples import Dataset
from optimization.recipe import recipe
from optimization.recipe.architectures import Mlp
from optimization.report import compare
from optimization.report.phases import Phases
from optimization.running.adopt import adopt
from optimization.running.run import run

DATA = {"kind": "breast_cancer", "num_features": 8}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, tumours: Dataset) -> dict[str, Path]:
    """One model as a file of probabilities, of one logit, and of two logits or probabilities for its two classes.

    Some logits lie between 0 and 0.5, where it matters at which of them a classifier is cut.
    """
    folder = tmp_path_factory.mktemp("teachers")
    model = models.build(Mlp(kind="mlp", hidden=(16,)), tumours, seed=0)
    inputs, labels = torch.from_numpy(tumours.train.inputs["features"]), torch.from_numpy(tumours.train.labels)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(inputs)[:, 0] * 4, labels.float()).backward()
        optimizer.step()
    found = {name: folder / f"{name}.onnx" for name in ("probability", "logit", "logits", "probabilities")}
    export.export(model.eval(), found["probability"], tumours.train, task=tumours.task)
    whole = onnx.load(found["probability"])
    (sigmoid,) = (node for node in whole.graph.node if node.op_type == "Sigmoid")
    logit, last = sigmoid.input[0], sigmoid.output[0]
    whole.graph.node.remove(sigmoid)
    for name, nodes in {
        "logit": [("Identity", [logit], [last], {})],
        "logits": [("Neg", [logit], ["no"], {}), ("Concat", ["no", logit], [last], {"axis": 1})],
        "probabilities": [
            ("Sub", [logit, logit], ["no"], {}),
            ("Concat", ["no", logit], ["both"], {"axis": 1}),
            ("Softmax", ["both"], [last], {"axis": 1}),
        ],
    }.items():
        made = onnx.ModelProto.FromString(whole.SerializeToString())
        made.graph.node.extend(helper.make_node(kind, into, out, **named) for kind, into, out, named in nodes)
        del made.graph.output[:]
        size = 1 if name == "logit" else 2
        made.graph.output.append(helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", size]))
        onnx.save(made, found[name])
    return found


def published(path: Path, root: Path, output: Meaning | None = None, **step: Any) -> Manifest:
    teacher = {"onnx": str(path)} | ({} if output is None else {"output": output})
    quantize = {"kind": "quantize", "calibration_samples": 128, "publish": "always"} | step
    wanted = recipe.parse({"name": "toy", "data": DATA, "teacher": teacher, "steps": [quantize]})
    with Phases(Console(quiet=True)) as phases:
        return run(wanted, root, phases).manifest


@pytest.mark.parametrize(
    ("name", "output"),
    [("probability", None), ("logit", "logits"), ("logits", "logits"), ("probabilities", None)],
)
def test_a_model_is_as_good_whatever_it_gives(
    files: dict[str, Path], tmp_path: Path, name: str, output: Meaning | None
) -> None:
    """A file of logits was cut at 0.5 in place of 0: 0.916 was published of a model of 0.900."""
    expected = published(files["probability"], tmp_path / "reference")
    got = published(files[name], tmp_path / "got", output)
    assert [each.quality for each in got.measurements[:1]] == [each.quality for each in expected.measurements[:1]]
    assert got.outputs[0].meaning == (output or "probabilities")
    assert got.task == "classification"
    assert got.reference is not None
    (confidence,) = (each for each in got.reference.outputs if each.name == "confidence")
    assert 0.5 <= min(confidence.edges) < max(confidence.edges) <= 1


def test_the_fixture_would_show_a_wrong_cut(files: dict[str, Path], tumours: Dataset) -> None:
    logits = graph.predict(graph.session(files["logit"]), tumours.held_out.batch(np.arange(len(tumours.held_out))))
    assert np.mean((logits[:, 0] > 0) != (logits[:, 0] > 0.5)) > 0.01


def test_what_a_file_gives_is_asked_for_where_its_graph_does_not_tell(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"teacher\.output must be logits or probabilities: .*outputs lie in \[-"):
        published(files["logit"], tmp_path)


def test_what_is_said_must_be_what_the_graph_tells_and_the_numbers_allow(
    files: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"teacher\.output must be probabilities, as the graph of .* got logits"):
        published(files["probability"], tmp_path, "logits")
    with pytest.raises(RecipeError, match=r"teacher\.output must be logits: .* and probabilities lie in \[0, 1\]"):
        published(files["logit"], tmp_path, "probabilities")


def test_output_is_refused_beside_a_model_of_ours() -> None:
    teacher = {"model": {"kind": "mlp", "hidden": [4]}, "output": "logits"}
    with pytest.raises(RecipeError, match=r"teacher\.output must be left out"):
        recipe.parse({"name": "toy", "data": DATA, "teacher": teacher, "steps": [{"kind": "quantize"}]})


def test_an_artifact_of_logits_is_compared_with_one_of_probabilities(files: dict[str, Path], tmp_path: Path) -> None:
    published(files["probability"], tmp_path / "one")
    published(files["logit"], tmp_path / "other", "logits")
    found = compare.compare(*(store.load(tmp_path / each / "toy" / "1") for each in ("one", "other")))
    assert found.agreement > 0.97
    assert found.first.quality.value == pytest.approx(found.second.quality.value, abs=0.02)


def of_before(root: Path, file: Path) -> store.Artifact:
    """Its manifest does not know what an output is."""
    model = graph.read(file)
    made = store.publish(
        root, {store.MODEL: file}, name="old", inputs=graph.inputs(model), outputs=graph.outputs(model)
    )
    path = made.path / store.MANIFEST
    manifest = json.loads(path.read_text())
    for spec in (*manifest["inputs"], *manifest["outputs"]):
        del spec["meaning"]
    del manifest["task"]
    path.write_text(json.dumps(manifest))
    return store.load(made.path)


def test_an_artifact_of_before_is_read_as_its_graph_tells_or_refused(files: dict[str, Path], tmp_path: Path) -> None:
    told, untold = (of_before(tmp_path, files[name]) for name in ("probability", "logit"))
    assert compare.output(told) == "probabilities"
    with pytest.raises(CompareError, match="must say in its manifest"):
        compare.output(untold)


def test_what_is_published_as_it_stands_says_what_it_gives(files: dict[str, Path], tmp_path: Path) -> None:
    said = {
        (name, output): adopt(files[name], tmp_path, "mine", output=output).manifest.outputs[0].meaning
        for name, output in (("probability", None), ("logit", None), ("logit", "logits"))
    }
    assert list(said.values()) == ["probabilities", None, "logits"]
    with pytest.raises(GraphError, match="--output must be probabilities, as the graph of"):
        adopt(files["probability"], tmp_path, "mine", output="boxes")
