"""A version that is put somewhere by fsspec, and read from there as a replica does."""

import shutil

import pytest

from deployments.replicas.node_cache import NodeCache
from deployments.replicas.source import source
from optimization.__main__ import main
from optimization.artifact import push as module
from optimization.artifact.push import push
from optimization.artifact.store import MANIFEST, MODEL, ArtifactError, load


def test_what_is_pushed_is_what_a_node_fetches(tiny_artifact, tmp_path, capsys):
    url = f"file://{tmp_path}/bucket/artifacts"
    assert main(["push", str(tiny_artifact.path), url]) == 0
    assert capsys.readouterr().out == f"{url}/tiny/1\n"
    with source(url, "tiny", NodeCache(tmp_path / "cache", 10**9)).fetch("1") as copy:
        assert load(copy.path).manifest == tiny_artifact.manifest


def test_the_manifest_goes_last(tiny_artifact, tmp_path, monkeypatch):
    order = []
    files, _ = module.fsspec.url_to_fs("file:///")
    put = type(files).put_file
    monkeypatch.setattr(
        type(files), "put_file", lambda self, a, b, **kw: (order.append(b.rpartition("/")[2]), put(self, a, b, **kw))
    )
    push(tiny_artifact.path, f"file://{tmp_path}/there")
    assert (order[-1], MODEL in order) == (MANIFEST, True)


def test_what_is_there_is_left_and_another_artifact_is_not_overwritten(tiny_artifact, tmp_path):
    url = f"file://{tmp_path}/there"
    assert push(tiny_artifact.path, url) == push(tiny_artifact.path, url)
    other = shutil.copytree(tiny_artifact.path, tmp_path / "other")
    (other / MANIFEST).write_text((other / MANIFEST).read_text().replace('"a"', '"b"'))
    with pytest.raises(ArtifactError, match="must be free, got another artifact there: publish the next version"):
        push(other, url)


def test_a_damaged_artifact_and_a_place_that_cannot_be_written_are_refused(tiny_artifact, tmp_path):
    with pytest.raises(ArtifactError, match="must be writable"):
        push(tiny_artifact.path, "http://127.0.0.1:9/there")
    (tiny_artifact.path / MODEL).write_bytes(b"")
    with pytest.raises(ArtifactError, match="truncated or altered"):
        push(tiny_artifact.path, f"file://{tmp_path}/there")
    assert not (tmp_path / "there").exists()


def test_the_cluster_itself_is_no_place_for_this_command(tiny_artifact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match="got 'cluster://': call `python -m deployments push` for that"):
        push(tiny_artifact.path, "cluster://")
    assert not (tmp_path / "cluster:").exists()
