"""Versions pushed to several nodes of one process: who has what, what crosses, and what goes wrong."""

import errno
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deployments.pushed import announcement as pieces_of
from deployments.pushed import fetch as fetching
from deployments.pushed.announcement import described, from_json
from deployments.pushed.fetch import PeerError
from deployments.pushed.push import push, withdraw
from deployments.pushed.rate import Rate
from optimization.artifact.store import MANIFEST, ArtifactError, load, publish
from tests.deployments.pushed.simulated import Nodes

RATE = 1e6
"""MB/s: nobody waits."""


def publish_large(root, seed=0, num_elements=50_000):
    """A look-up in a table of 200 kB: 25 pieces of 8 kB in these tests."""
    root.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(seed).standard_normal(num_elements).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "x"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), root / "m.onnx")
    specs = {
        put: [{"name": name, "datatype": datatype, "shape": ["batch", 1]}]
        for put, name, datatype in (("inputs", "x", "INT64"), ("outputs", "y", "FP32"))
    }
    return publish(root, {"model.onnx": root / "m.onnx"}, name="large", **specs)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces_of, "PIECE_BYTES", 8192)
    monkeypatch.setattr(fetching, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(fetching, "BUSY_S", 0.001)


@pytest.fixture
def large(tmp_path):
    return publish_large(tmp_path / "published")


@pytest.fixture
def nodes(tmp_path):
    return Nodes(tmp_path / "nodes")


def pushed(nodes, artifact, here="a"):
    return push(artifact.path, nodes.seen_from(here), nodes.catalogue, RATE)


def size_of(artifact):
    return sum(entry.size_bytes for entry in artifact.manifest.files.values())


def test_what_is_acknowledged_is_whole_on_a_second_node_and_the_publisher_may_go(nodes, large):
    told = pushed(nodes, large)
    assert (told.name, told.version, told.nodes) == ("large", "1", ("a", "b"))
    nodes.dead.add("a")
    shutil.rmtree(large.path)
    found = nodes.catalogue.find("large", "1")
    assert load(nodes.stores["c"].fetch(found)).manifest == large.manifest


def test_each_node_gets_each_byte_once_and_the_publisher_sends_few_copies(tmp_path, large):
    names = "abcdefghij"
    nodes = Nodes(tmp_path / "nodes", names)
    pushed(nodes, large)
    found = nodes.catalogue.find("large", "1")
    with ThreadPoolExecutor(len(names)) as replicas:  # two replicas of each node
        list(replicas.map(lambda node: nodes.stores[node].fetch(found), [*names, *names]))
    size = size_of(large)
    assert [nodes.stores[name].received("large")["1"] for name in names] == [0] + [size] * (len(names) - 1)
    assert sum(nodes.sent.values()) == size * (len(names) - 1)
    assert nodes.sent["a"] < 5 * size


def test_a_node_that_has_a_version_of_the_model_gets_the_next_before_a_replica_asks(tmp_path, nodes, large):
    pushed(nodes, large)
    nodes.stores["c"].fetch(nodes.catalogue.find("large", "1"))
    second = publish_large(tmp_path / "published", seed=1)
    pushed(nodes, second, here="b")
    for name in "abc":
        nodes.stores[name].fetch(nodes.catalogue.find("large", "2"))
        assert nodes.stores[name].received("large").keys() == {"1", "2"}


def test_other_bytes_under_a_pushed_number_are_refused_and_the_same_are_not(tmp_path, nodes, large):
    pushed(nodes, large)
    other = publish_large(tmp_path / "elsewhere", seed=1)
    with pytest.raises(ArtifactError, match=r"version 1 of 'large' must be new or the same as before .* next version"):
        pushed(nodes, other, here="c")
    assert pushed(nodes, large, here="c").nodes == ("c", "a")
    assert nodes.catalogue.find("large", "1").digest == described(large.path, 1).digest
    assert nodes.stores["c"].received("large").keys() == {"1"}


def test_of_two_that_push_other_bytes_at_once_one_is_refused_and_leaves_nothing(tmp_path, nodes, large):
    other = publish_large(tmp_path / "elsewhere", seed=1)
    both = threading.Barrier(2)

    def attempt(artifact, here):
        seen = nodes.seen_from(here)
        taken = seen.take

        def take(*arguments):  # both have looked whether the number is free
            found = taken(*arguments)
            both.wait(10)
            return found

        seen.take = take
        try:
            return push(artifact.path, seen, nodes.catalogue, RATE).name
        except ArtifactError as error:
            return str(error)

    with ThreadPoolExecutor(2) as publishers:
        told = sorted(publishers.map(attempt, [large, other], "ab"))
    assert told[0] == "large"
    assert "must be new or the same as before" in told[1]
    announced = nodes.catalogue.find("large", "1").key
    left = {each.name for folder in nodes.root.iterdir() for each in folder.iterdir() if each.is_dir()}
    assert left == {announced}


def test_a_withdrawn_version_is_seen_no_more_and_its_number_stays_its_own(tmp_path, nodes, large):
    pushed(nodes, large)
    second = publish_large(tmp_path / "published", seed=1)
    pushed(nodes, second)
    withdraw("large", "2", nodes.seen_from("c"), nodes.catalogue)
    assert nodes.catalogue.versions("large") == ["1"]
    assert [nodes.stores[name].received("large").keys() for name in "ab"] == [{"1"}, {"1"}]
    shutil.rmtree(second.path)
    other = publish_large(tmp_path / "published", seed=2)
    assert other.manifest.version == "2"
    with pytest.raises(ArtifactError, match="must be new or the same as before"):
        pushed(nodes, other)
    with pytest.raises(ArtifactError, match="has no pushed version '2', only 1"):
        withdraw("large", "2", nodes.seen_from("c"), nodes.catalogue)


def test_altered_pieces_are_refused_and_taken_from_another_node(nodes, large):
    pushed(nodes, large)
    nodes.alter = lambda node, content: bytes([content[0] ^ 1]) + content[1:] if node == "a" else content
    found = nodes.catalogue.find("large", "1")
    load(nodes.stores["c"].fetch(found))
    assert nodes.stores["c"].pieces(found.key) == frozenset(range(len(found.pieces)))


def test_a_node_that_dies_while_it_gives_is_replaced_by_another(nodes, large):
    pushed(nodes, large)
    given = []

    def die(node, piece):
        given.append(node)
        if len(given) == 10:
            nodes.dead.add("a")

    nodes.before_read = die
    load(nodes.stores["c"].fetch(nodes.catalogue.find("large", "1")))


def test_where_no_node_gives_it_that_is_said_and_nothing_stays(nodes, large, monkeypatch):
    pushed(nodes, large)
    monkeypatch.setattr(fetching, "STALLED_S", 0.05)
    nodes.dead |= {"a", "b"}
    with pytest.raises(PeerError, match="no node that has version 1 of 'large' gives its pieces: push it again"):
        nodes.stores["c"].fetch(nodes.catalogue.find("large", "1"))
    assert [entry for entry in (nodes.root / "c").iterdir() if entry.is_dir()] == []
    assert nodes.catalogue.holders(nodes.catalogue.find("large", "1").key) == ["a", "b"]


def test_a_full_disk_is_known_before_the_first_piece_and_the_next_node_gets_the_copy(nodes, large, monkeypatch):
    allocate = os.posix_fallocate

    def full(descriptor, *rest):
        if "/nodes/b/" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        return allocate(descriptor, *rest)

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert pushed(nodes, large).nodes == ("a", "c")
    nodes.dead.add("c")
    with pytest.raises(OSError, match="No space left"):
        nodes.stores["b"].fetch(nodes.catalogue.find("large", "1"))


def test_without_room_on_any_other_node_nothing_is_announced_and_nothing_stays(nodes, large, monkeypatch):
    def full(descriptor, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ArtifactError, match=r"a second node must hold the version .*: node b: .*No space.*; node c: "):
        pushed(nodes, large)
    assert nodes.catalogue.versions("large") == []
    assert [entry for folder in nodes.root.iterdir() for entry in folder.iterdir() if entry.is_dir()] == []


def test_a_store_that_starts_again_holds_what_is_on_its_disk_and_one_alone_makes_a_second_copy(nodes, large):
    pushed(nodes, large)
    sent = dict(nodes.sent)
    nodes.dead.add("a")
    again = nodes.start("b")
    assert again.received("large") == {"1": 0}
    again.tend()
    assert nodes.stores["c"].received("large") == {"1": size_of(large)}
    assert nodes.sent["b"] - sent.get("b", 0) == size_of(large)
    nodes.stores["c"].tend()
    assert set(nodes.catalogue.holders(nodes.catalogue.find("large", "1").key)) == {"b", "c"}


def test_one_node_alone_acknowledges_and_the_next_that_joins_gets_a_copy(tmp_path, large):
    nodes = Nodes(tmp_path / "nodes", "a")
    assert pushed(nodes, large).nodes == ("a",)
    nodes.start("b")
    nodes.stores["a"].tend()
    assert nodes.stores["b"].received("large") == {"1": size_of(large)}


def test_what_was_taken_and_never_announced_is_let_go_of_after_a_while(nodes, large, monkeypatch):
    taken = nodes.stores["a"].take(large.path, RATE)
    nodes.stores["a"].tend()
    assert nodes.stores["a"].received("large") == {"1": 0}
    monkeypatch.setattr("deployments.pushed.node.PUSHING_S", 0.0)
    nodes.stores["a"].tend()
    assert nodes.stores["a"].received("large") == {}
    assert nodes.catalogue.holders(taken.key) == []


def test_a_damaged_directory_is_not_taken(nodes, large):
    (large.path / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match="truncated or altered"):
        pushed(nodes, large)


def test_an_announcement_is_read_as_it_was_written_and_hangs_on_the_manifest(large):
    said = described(large.path, 64.0)
    assert from_json(said.to_json()) == said
    assert sum(piece.size_bytes for piece in said.pieces) == size_of(large)
    manifest = large.path / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"labels": ["x"]}))
    assert described(large.path, 64.0).key != said.key


def test_bytes_go_one_after_the_other_at_their_rate_and_a_busy_link_says_so():
    now = 0.0
    rate = Rate(now_s=lambda: now)
    assert rate.book(64_000_000, 64) == 0
    assert rate.book(32_000_000, 64) == 1.0
    assert rate.book(1, 64, longest_s=1.0) is None
    now = 1.5
    assert rate.book(1, 64, longest_s=1.0) == 0


def test_a_busy_node_is_asked_again(nodes, large):
    pushed(nodes, large)
    nodes.dead.add("b")
    for _ in range(2):
        nodes.stores["a"]._sending.book(10**6, 64)
    load(nodes.stores["c"].fetch(nodes.catalogue.find("large", "1")))
