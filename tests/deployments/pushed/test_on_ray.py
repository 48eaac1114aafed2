"""Versions pushed into real Ray clusters: by the command line, read as a replica does, and while nodes and the
publisher die."""

import json
import subprocess
import sys

import pytest

from deployments.__main__ import main
from tests.conftest import free_port, publish_tiny

COMMANDS = """
import json, os, sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from deployments.__main__ import main
from deployments.pushed.actors import RayStores
from deployments.replicas.node_cache import NodeCache
from deployments.replicas.source import source
from optimization.artifact.store import load
from tests.conftest import publish_tiny

root = Path(sys.argv[1])
os.environ["XDG_CACHE_HOME"] = str(root / "head")
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1, env_vars={"XDG_CACHE_HOME": str(root / "other")})
ray.init(address=cluster.address, log_to_driver=False, logging_level=40)
first, second = publish_tiny(root / "artifacts"), publish_tiny(root / "artifacts")
said = [main(["push", str(each)]) for each in (first.path, root / "artifacts" / "tiny")]
there = source("cluster://", "tiny", NodeCache(root / "cache", 10**9))
versions = there.versions()
(held,) = (root / "head" / "trimtab" / "pushed").glob("tiny.2.*/model.onnx")
held.write_bytes(bytes(held.stat().st_size))  # the disk has lost it
with there.fetch("2") as copy:
    is_same = load(copy.path).manifest == second.manifest
(other,) = RayStores().others()
received = RayStores().received(other, "tiny")
said += [main(["push", str(publish_tiny(root / "elsewhere").path)]), main(["withdraw", "tiny/2"])]
print(json.dumps({
    "said": said, "versions": [versions, there.versions()], "is_same": is_same,
    "received": [received[each.manifest.version] == sum(file.size_bytes for file in each.manifest.files.values())
                 for each in (first, second)],
}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.ray
@pytest.mark.slow
def test_what_is_pushed_by_a_command_is_on_two_nodes_and_read_as_any_source(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = [line for line in done.stdout.splitlines() if line.startswith("{")]  # Ray prints, too
    assert json.loads(found) == {
        "said": [0, 0, 2, 0],
        "versions": [["1", "2"], ["1"]],
        "is_same": True,
        "received": [True, True],
    }
    assert "on 2 nodes" in done.stdout
    assert "version 1 of 'tiny' must be new or the same as before" in done.stderr


def test_a_host_outside_of_the_cluster_cannot_push(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "ray://elsewhere:10001")
    assert main(["push", str(publish_tiny(tmp_path).path)]) == 2
    assert "RAY_ADDRESS must name a cluster that this host is of, got ray://elsewhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["push", "artifacts/tiny", "--mb-per-s", "0"], "must be above 0, got 0"),
        (["push", "artifacts/tiny", "--mb-per-s", "nan"], "must be above 0, got nan"),
    ],
)
def test_a_rate_that_is_none_is_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


FAULTS = """
import json, os, sys, threading, time, urllib.request
from pathlib import Path

import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deployments import app
from deployments.pushed import actors
from deployments.pushed.actors import RayStores
from deployments.pushed.push import push
from tests.deployments.pushed.test_push import publish_large

root, port = Path(sys.argv[1]), int(sys.argv[2])
RATE, COUNT = 500.0, 2_000_000

def add_node(name):
    return cluster.add_node(num_cpus=1, env_vars={"XDG_CACHE_HOME": str(root / name)})

@ray.remote(num_cpus=0)
def pushed(path):
    return push(Path(path), RayStores(), actors.catalogue(), RATE).nodes

def push_from(node, artifact):
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    return ray.get(pushed.options(scheduling_strategy=there).remote(str(artifact.path)))

def answer():
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["model_version"]

def keep_asking():
    while not is_over.is_set():
        try:
            told.append(answer())
        except OSError as error:
            failed.append(str(error))

def until(condition):
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, (told[-20:], failed[-3:])
        time.sleep(0.1)

def received(version):
    found = {}
    for node in nodes:
        try:
            found[node.node_id] = stores.received(node.node_id, "large").get(version)
        except actors.PeerError:
            pass
    return found

os.environ["XDG_CACHE_HOME"] = str(root / "head")
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [add_node(name) for name in "abc"]
ray.init(address=cluster.address, log_to_driver=False, logging_level=40)
stores = RayStores()
first = publish_large(root / "artifacts", num_elements=COUNT)
size = sum(file.size_bytes for file in first.manifest.files.values())
push_from(nodes[0], first)
serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
settings = {"artifact": "large", "artifacts": "cluster://", "scaling": {"min_replicas": 3, "max_replicas": 3}}
url = f"http://127.0.0.1:{port}/v2/models/large/infer"
body = b'{"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 1], "data": [7]}]}'
serve.run(app.model(settings), name="large", route_prefix="/v2/models/large")
told, failed, is_over = [], [], threading.Event()
asking = threading.Thread(target=keep_asking)
asking.start()
until(lambda: len([each for each in received("1").values() if each is not None]) == 3)
push_from(nodes[1], publish_large(root / "artifacts", seed=1, num_elements=COUNT))
until(lambda: set(told[-20:]) == {"2"})
before = list(failed)
once = sorted(each / size for each in received("2").values() if each is not None)
told_first = set(told)
acknowledged = push_from(nodes[0], publish_large(root / "artifacts", seed=2, num_elements=COUNT))
cluster.remove_node(nodes[0], allow_graceful=False)  # the publisher's
late = add_node("d")
nodes = [*nodes[1:], late]
until(lambda: set(told[-20:]) == {"3"} and len([each for each in received("3").values() if each is not None]) == 3)
is_over.set()
asking.join()
print(json.dumps({"once": once, "failed": before, "told": sorted(told_first), "acknowledged": len(acknowledged)}))
serve.shutdown()
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_a_version_crosses_to_each_node_once_fails_no_request_and_outlives_its_publisher(tmp_path):
    command = [sys.executable, "-c", FAULTS, str(tmp_path), str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = [line for line in done.stdout.splitlines() if line.startswith("{")]  # Ray prints, too
    assert json.loads(found) == {
        "once": [0, 1, 1],
        "failed": [],
        "told": ["1", "2"],
        "acknowledged": 2,
    }
