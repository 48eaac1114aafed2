import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimization.artifact import store
from optimization.artifact.manifest import SCHEMA_VERSION, Manifest, TensorSpec
from optimization.artifact.store import Artifact, ArtifactError

FIELDS: dict[str, Any] = {
    "name": "toy",
    "inputs": (TensorSpec(name="x", datatype="FP32", shape=("batch", 4)),),
    "outputs": (TensorSpec(name="y", datatype="FP32", shape=("batch", 2)),),
}


def publish(root: Path, **fields: Any) -> Artifact:
    source = root / "source.onnx"
    source.write_bytes(b"weights" * 100)
    return store.publish(root, {store.MODEL: source}, **(FIELDS | fields))


def edit(published: Artifact, change: Callable[[dict[str, Any]], object]) -> None:
    path = published.path / store.MANIFEST
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def test_published_artifact_loads_as_it_was(tmp_path: Path) -> None:
    published = publish(tmp_path, labels=("a", "b"), parity=1e-7)
    assert store.load(published.path) == published
    assert published.path == tmp_path / "toy" / "1"
    assert published.model_path.read_bytes() == b"weights" * 100


def test_versions_count_up_and_the_newest_is_found(tmp_path: Path) -> None:
    assert [publish(tmp_path).manifest.version for _ in range(11)] == [str(number) for number in range(1, 12)]
    assert store.find(tmp_path, "toy").name == "11", "numbers are compared as numbers"
    assert store.find(tmp_path, "toy", "2").name == "2"


def test_truncated_model_is_refused(tmp_path: Path) -> None:
    published = publish(tmp_path)
    published.model_path.write_bytes(published.model_path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"must have 700 bytes, got 699: truncated"):
        store.load(published.path)


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    published = publish(tmp_path)
    published.model_path.write_bytes(b"W" + published.model_path.read_bytes()[1:])
    with pytest.raises(ArtifactError, match=r"must have sha256 .* damaged"):
        store.load(published.path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    published = publish(tmp_path)
    published.model_path.unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx is missing"):
        store.load(published.path)


def test_newer_schema_asks_for_an_update(tmp_path: Path) -> None:
    published = publish(tmp_path)
    edit(published, lambda raw: raw.update(schema_version=SCHEMA_VERSION + 1, future_field=1))
    with pytest.raises(ArtifactError, match="has schema version 2, this Trimtab reads up to 1: update Trimtab"):
        store.load(published.path)


@pytest.mark.parametrize("version", [None, 0, "1", []])
def test_senseless_schema_version_is_refused(tmp_path: Path, version: object) -> None:
    published = publish(tmp_path)
    edit(published, lambda raw: raw.update(schema_version=version))
    with pytest.raises(ArtifactError, match="schema_version must be 1"):
        store.load(published.path)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/hostname", "a/../../outside", "a/../model.onnx", "", "a\\b", "a\0b"]
)
def test_listed_file_outside_the_artifact_is_refused(tmp_path: Path, name: str) -> None:
    published = publish(tmp_path)
    (tmp_path / "toy" / "outside").write_bytes(b"secret")
    edit(published, lambda raw: raw["files"].update({name: raw["files"][store.MODEL]}))
    with pytest.raises(ArtifactError, match="must lie inside the artifact"):
        store.load(published.path)


def test_link_that_leaves_the_artifact_is_refused(tmp_path: Path) -> None:
    published = publish(tmp_path)
    outside = tmp_path / "outside.onnx"
    published.model_path.rename(outside)  # the very same bytes
    published.model_path.symlink_to(outside)
    with pytest.raises(ArtifactError, match="must lie inside the artifact"):
        store.load(published.path)


def test_linked_folder_that_leaves_the_artifact_is_refused(tmp_path: Path) -> None:
    published = publish(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.onnx").write_bytes(published.model_path.read_bytes())
    (published.path / "sub").symlink_to(tmp_path / "elsewhere")
    edit(published, lambda raw: raw["files"].update({"sub/model.onnx": raw["files"][store.MODEL]}))
    with pytest.raises(ArtifactError, match="must lie inside the artifact"):
        store.load(published.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\x01", '{"schema_version": 1}', "null"])
def test_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    published = publish(tmp_path)
    (published.path / store.MANIFEST).write_text(text)
    with pytest.raises(ArtifactError):
        store.load(published.path)


def test_manifest_without_the_model_is_refused(tmp_path: Path) -> None:
    published = publish(tmp_path)
    edit(published, lambda raw: raw.update(files={}))
    with pytest.raises(ArtifactError, match=r"does not list 'model\.onnx'"):
        store.load(published.path)


def test_missing_artifact_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no version of it under"):
        store.find(tmp_path, "toy")
    publish(tmp_path)
    with pytest.raises(ArtifactError, match="no version '7', only 1"):
        store.find(tmp_path, "toy", "7")


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "x" * 129, None, 3])
def test_name_that_is_no_name_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(ArtifactError, match="name must match"):
        publish(tmp_path, name=name)


def test_failed_publish_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="parity"):
        publish(tmp_path, parity="small")
    with pytest.raises(ArtifactError, match="must lie inside"):
        store.publish(tmp_path, {store.MODEL: tmp_path / "source.onnx", "../x": tmp_path / "source.onnx"}, **FIELDS)
    with pytest.raises(FileNotFoundError):
        store.publish(tmp_path, {store.MODEL: tmp_path / "none"}, **FIELDS)
    assert list((tmp_path / "toy").iterdir()) == []


def test_publishers_at_once_each_get_their_own_version(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        published = list(pool.map(lambda _: publish(tmp_path), range(16)))
    assert sorted(int(each.manifest.version) for each in published) == list(range(1, 17))
    for each in published:
        assert store.load(each.path).manifest.version == each.path.name
    assert not list((tmp_path / "toy").glob(".publishing-*"))


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(agreement=NUMBERS, parity=NUMBERS, label=st.text(max_size=5))
def test_manifest_survives_json(agreement: float, parity: float, label: str) -> None:
    raw = FIELDS | {
        "version": "1", "created": "2026-01-01T00:00:00Z", "files": {},
        "parity": parity, "labels": (label,), "agreement": agreement,
    }  # fmt: skip
    manifest = Manifest.model_validate(raw)
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_a_manifest_of_before_with_histograms_is_read() -> None:
    raw = FIELDS | {"version": "1", "created": "2026-01-01T00:00:00Z", "files": {}}
    before = raw | {"histograms": [{"name": "x", "edges": [0.5], "counts": [1, 2]}]}
    assert Manifest.model_validate(before) == Manifest.model_validate(raw)
