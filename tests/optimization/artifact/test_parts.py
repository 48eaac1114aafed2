"""Artifacts of several graphs: what a part is, and what a host needs that runs one."""

import pytest

from optimization.artifact import store
from optimization.artifact.manifest import Part
from optimization.artifact.store import ArtifactError
from tests.parts import publish_two_parts


def test_a_part_is_an_artifact_of_its_own(tmp_path):
    published = publish_two_parts(tmp_path)
    first, second = published.part(1), published.part(2)
    assert [spec.name for spec in first.manifest.inputs] == ["x"]
    assert [spec.name for spec in first.manifest.outputs] == ["h"]
    assert [spec.name for spec in second.manifest.inputs] == ["h", "x"]
    assert second.model_path == published.path / "second.onnx"
    assert (first.manifest.labels, second.manifest.labels) == (None, ("a", "b", "c", "d")), "of whose answers they name"
    assert second.part(1).manifest == second.manifest


def test_a_host_needs_the_files_of_its_part_alone(tmp_path):
    published = publish_two_parts(tmp_path)
    (published.path / "first.onnx").unlink()
    assert set(store.load(published.path, part=2).manifest.files) == {"second.onnx", "second.weights"}
    with pytest.raises(ArtifactError, match=r"first\.onnx is missing"):
        store.load(published.path, part=1)
    with pytest.raises(ArtifactError, match=r"first\.onnx is missing"):
        store.load(published.path)


def test_weights_beside_a_graph_are_verified(tmp_path):
    published = publish_two_parts(tmp_path)
    weights = published.path / "second.weights"
    weights.write_bytes(b"\1" + weights.read_bytes()[1:])
    with pytest.raises(ArtifactError, match=r"second\.weights must have sha256 .* damaged"):
        store.load(published.path, part=2)
    assert store.load(published.path, part=1).manifest.outputs[0].name == "h"


@pytest.mark.parametrize("number", [-1, 0, 3])
def test_a_part_that_is_not_there_is_refused(tmp_path, number):
    published = publish_two_parts(tmp_path)
    with pytest.raises(ArtifactError, match=f"artifact 'two' has the parts 1 to 2, got part {number}"):
        store.load(published.path, part=number)


def test_an_artifact_of_one_graph_is_its_only_part(tiny_artifact):
    whole = store.load(tiny_artifact.path, part=1)
    assert whole.model_path == tiny_artifact.model_path
    assert whole.manifest.parts == (Part(inputs=whole.manifest.inputs, outputs=whole.manifest.outputs),)
    with pytest.raises(ArtifactError, match="has one part, 1, got part 2"):
        tiny_artifact.part(2)


def test_the_size_of_a_model_is_that_of_its_graphs_and_weights(tmp_path):
    published = publish_two_parts(tmp_path)
    names = ("first.onnx", "second.onnx", "second.weights")
    assert published.manifest.model_bytes == sum((published.path / name).stat().st_size for name in names)
    assert published.part(1).manifest.model_bytes == (published.path / "first.onnx").stat().st_size


def test_weights_that_the_manifest_does_not_list_are_refused(tmp_path):
    published = publish_two_parts(tmp_path)
    path = published.path / store.MANIFEST
    path.write_text(path.read_text().replace('"second.weights": {', '"other.weights": {'))
    with pytest.raises(ArtifactError, match=r"does not list 'second\.weights'"):
        store.load(published.path)


def test_several_graphs_are_not_taken_for_one_model(tmp_path):
    with pytest.raises(ArtifactError, match=r"must have one graph to be run as one model, got the parts first\.onnx, "):
        _ = publish_two_parts(tmp_path).model_path
