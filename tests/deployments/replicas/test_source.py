"""Artifacts that come from somewhere: real files, fsspec's memory, and a real HTTP server with real faults."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import fsspec
import pytest

from deployments.errors import SettingsError
from deployments.launch import preflight
from deployments.replicas import source as module
from deployments.replicas.node_cache import NodeCache
from deployments.replicas.source import SourceError, published, source
from deployments.settings import ModelSettings, parse
from optimization.artifact.store import MANIFEST, MODEL, ArtifactError, load
from tests.conftest import publish_tiny
from tests.deployments.replicas.file_server import FileServer

MANY_BYTES = 10**9


@pytest.fixture
def root(tmp_path):
    """A directory with two versions of `tiny`."""
    publish_tiny(tmp_path / "there"), publish_tiny(tmp_path / "there")
    return tmp_path / "there"


@pytest.fixture
def server(root):
    with closing(FileServer(root)) as running:
        yield running


@pytest.fixture
def cache(tmp_path):
    return NodeCache(tmp_path / "cache", MANY_BYTES)


@pytest.fixture
def tiny(server, cache):
    """The model `tiny` of the HTTP server."""
    return source(server.url, "tiny", cache)


def visible(folder):
    """What a cache holds: directories of artifacts, whole or not."""
    return sorted(entry.name for entry in folder.glob("*") if entry.is_dir())


def in_memory(root):
    """The URL of a copy of `root` in this process's memory."""
    fsspec.filesystem("memory").put(f"{root}/", f"{root}/", recursive=True)
    return f"memory:/{root}"


def damage(path):
    path.write_bytes(bytes(path.stat().st_size))


def test_a_directory_is_read_in_place(root, cache, tmp_path):
    here = source(str(root), "tiny", cache)
    assert here.versions() == ["1", "2"]
    assert here.fetch("2").path == root / "tiny" / "2"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("kind", ["http", "file", "memory"])
def test_a_url_is_listed_and_copied_to_the_node(kind, root, server, cache, tmp_path):
    url = {"http": lambda: server.url, "file": lambda: f"file://{root}", "memory": lambda: in_memory(root)}[kind]()
    there = source(url, "tiny", cache)
    assert there.versions() == ["1", "2"]
    with published(there) as copy:
        assert copy.path.parent == tmp_path / "cache"
        assert load(copy.path).manifest == load(root / "tiny" / "2").manifest
    assert source(url, "absent", cache).versions() == []
    with pytest.raises(ArtifactError, match="has no version '9', only 1, 2"):
        published(there, "9")


def test_a_version_is_there_once_its_manifest_is(root, tiny):
    manifest = root / "tiny" / "2" / MANIFEST
    kept = manifest.rename(root / "kept.json")
    assert tiny.versions() == ["1"]
    kept.rename(manifest)
    assert tiny.versions() == ["1", "2"]
    shutil.rmtree(root / "tiny" / "2")
    assert tiny.versions() == ["1"]


def test_of_many_versions_the_newest_is_looked_at_once(root, server, tiny):
    for _ in range(5):
        publish_tiny(root)
    for _ in range(3):
        assert tiny.versions() == ["1", "2", "3", "4", "5", "6", "7"]
    assert [path for path in server.asked if path.endswith(MANIFEST)] == [f"/tiny/7/{MANIFEST}"]


def test_replicas_of_a_node_that_ask_at_once_fetch_once(server, tmp_path):
    def replica(_):
        return source(server.url, "tiny", NodeCache(tmp_path / "cache", MANY_BYTES)).fetch("1").path

    with ThreadPoolExecutor(8) as replicas:
        paths = set(replicas.map(replica, range(8)))
    assert len(paths) == 1
    assert server.models_sent() == 1


FETCH = """
import sys
from pathlib import Path
from deployments.replicas.node_cache import NodeCache
from deployments.replicas.source import source
source(sys.argv[1], "tiny", NodeCache(Path(sys.argv[2]), 10**9)).fetch("1")
"""


def test_a_fetch_that_is_killed_leaves_nothing_that_is_seen_and_the_next_one_succeeds(server, tiny, tmp_path):
    server.hang_after = 10
    killed = subprocess.Popen([sys.executable, "-c", FETCH, server.url, str(tmp_path / "cache")])
    assert server.hanging.wait(30)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (half,) = visible(tmp_path / "cache")
    assert half.startswith(".fetching-")
    server.hang_after = None
    with tiny.fetch("1") as copy:
        load(copy.path)
        assert visible(tmp_path / "cache") == [copy.path.name]


def test_altered_bytes_are_refused_and_fetched_again_once_they_are_sound(server, tiny, tmp_path):
    server.alter = lambda content: bytes([content[0] ^ 1]) + content[1:]
    with pytest.raises(ArtifactError, match=r"http://.*/tiny/1: .*sha256.*altered") as problem:
        tiny.fetch("1")
    assert not isinstance(problem.value, SourceError)
    assert visible(tmp_path / "cache") == []
    server.alter = lambda content: content
    load(tiny.fetch("1").path)


def test_more_bytes_than_the_manifest_says_are_not_taken(server, tiny, tmp_path):
    server.alter = lambda content: content + bytes(100 * 2**20)
    with pytest.raises(ArtifactError, match=rf"{MODEL} must have \d+ bytes, got more"):
        tiny.fetch("1")
    assert visible(tmp_path / "cache") == []


def test_a_connection_that_breaks_is_the_sources_fault_and_leaves_nothing(server, tiny, tmp_path):
    server.cut_after = 10
    with pytest.raises(SourceError, match="must be readable"):
        tiny.fetch("1")
    assert visible(tmp_path / "cache") == []


def test_a_source_that_falls_silent_is_given_up(server, cache, monkeypatch):
    monkeypatch.setattr(module, "SILENCE_S", 0.2)
    server.hang_after = 10
    with pytest.raises(SourceError, match="must be readable"):
        source(server.url, "tiny", cache).fetch("1")


def test_a_source_that_is_gone_still_gives_what_the_node_has(server, tiny, tmp_path):
    tiny.fetch("1").release()
    server.close()
    with tiny.fetch("1") as copy:
        load(copy.path)
    with pytest.raises(SourceError, match="must be readable"):
        tiny.fetch("2")
    with pytest.raises(SourceError, match="must be readable"):
        tiny.versions()
    damage(copy.path / MODEL)
    with pytest.raises(SourceError, match="must be readable"):
        tiny.fetch("1")


def test_a_copy_that_was_damaged_on_the_node_is_fetched_anew(server, tiny):
    with tiny.fetch("1") as copy:
        damage(copy.path / MODEL)
    load(tiny.fetch("1").path)
    assert server.models_sent() == 2


def test_another_artifact_under_an_old_number_is_fetched_anew(root, tiny):
    old = tiny.fetch("1").path
    manifest = root / "tiny" / "1" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"labels": ["x", "y", "z"]}))
    new = tiny.fetch("1").path
    assert (load(old).manifest.labels, load(new).manifest.labels) == (("a", "b", "c"), ("x", "y", "z"))


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_manifest_cannot_write_outside_of_its_directory(root, tiny, name, tmp_path):
    manifest = root / "tiny" / "1" / MANIFEST
    content = json.loads(manifest.read_text())
    content["files"][name] = {"size_bytes": 1, "sha256": "0" * 64}
    manifest.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="must lie inside the artifact"):
        tiny.fetch("1")
    assert visible(tmp_path / "cache") == []


def test_the_cache_forgets_the_oldest_that_no_replica_uses(root, server, tmp_path):
    publish_tiny(root)
    size_bytes = sum(file.stat().st_size for file in (root / "tiny" / "1").iterdir())
    small = source(server.url, "tiny", NodeCache(tmp_path / "cache", int(2.5 * size_bytes)))
    used, unused = small.fetch("1"), small.fetch("2")
    unused.release()
    os.utime(used.path, (0, 0))  # the oldest by far
    leftover = tmp_path / "cache" / ".fetching-of-one-that-was-killed"
    leftover.mkdir()
    (leftover / MODEL).write_bytes(bytes(3 * size_bytes))
    newest = small.fetch("3")
    assert visible(tmp_path / "cache") == sorted([used.path.name, newest.path.name])
    used.release()
    small.fetch("2")
    assert used.path.name not in visible(tmp_path / "cache")


def test_what_is_in_use_stays_though_it_exceeds_the_limit(server, tmp_path):
    none = source(server.url, "tiny", NodeCache(tmp_path / "cache", 0))
    copies = [none.fetch("1"), none.fetch("2")]
    for copy in copies:
        load(copy.path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://me:secret@host/there", "credentials belong into the environment"),
        ("https://host/there?token=1", "must have no user, query or fragment"),
        ("nowhere://host/there", "fsspec knows no nowhere://"),
        ("s3://bucket/there", "pip install s3fs"),
        ("cluster://head/there", "is at cluster://, with nothing behind it"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_at_once(url, said):
    with pytest.raises(SettingsError, match=said):
        parse(ModelSettings, {"artifact": "tiny", "artifacts": url}, "args")


def test_the_preflight_leaves_what_is_pushed_into_the_cluster_to_the_cluster():
    settings = {"artifact": "tiny", "artifacts": "cluster://"}
    application = {"name": "tiny", "route_prefix": "/v2/models/tiny", "import_path": "deployments.app:model"}
    config = {"http_options": {"host": "127.0.0.1"}, "applications": [application | {"args": settings}]}
    preflight.check(config, ports=False)


def test_the_preflight_fetches_and_checks_what_is_at_a_url(server, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    settings = {"artifact": "tiny", "artifacts": server.url}
    application = {"name": "tiny", "route_prefix": "/v2/models/tiny", "import_path": "deployments.app:model"}
    config = {"http_options": {"host": "127.0.0.1"}, "applications": [application | {"args": settings}]}
    preflight.check(config, ports=False)
    assert len(visible(tmp_path / "home" / "trimtab" / "artifacts")) == 1
    settings["version"] = 9
    with pytest.raises(ArtifactError, match="has no version '9'") as problem:
        preflight.check(config, ports=False)
    assert "Make it with" not in str(problem.value)
    server.close()
    began = time.monotonic()
    with pytest.raises(SourceError, match=f"{server.url}/tiny must be readable"):
        preflight.check(config, ports=False)
    assert time.monotonic() - began < 10
