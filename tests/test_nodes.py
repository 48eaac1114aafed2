"""A cluster of two nodes, each with a raylet of its own: where replicas go, which version they answer by, and what
happens when a node is lost."""

import json
import subprocess
import sys

import pytest

from tests.conftest import free_port

SCRIPT = """
import asyncio, json, os, sys, time, urllib.request
from pathlib import Path

import ray
from ray import serve
from ray._private.state import actors
from ray.cluster_utils import Cluster

from deployments import app
from deployments.replicas import repository
from tests.conftest import publish_tiny
from tests.deployments.replicas.file_server import FileServer

def nodes():
    found = [each for each in actors().values() if each["ActorClassName"].startswith("ServeReplica:tiny")]
    return sorted(each["Address"]["NodeID"] for each in found if each["State"] == "ALIVE")

def answers():
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.status, json.load(response)["model_version"]

def ready():
    found = asyncio.run(repository.index("tiny"))
    return [status.version for status in found if status.state == "READY"]

def versions_until(version):
    # what is answered until both replicas answer by it, and for a while after
    told, deadline = [], time.monotonic() + 60
    while len(told) < 20 or {each for _, each in told[-20:]} != {version}:
        assert time.monotonic() < deadline, told[-20:]
        told.append((time.monotonic(), answers()[1]))
    return told

artifacts, port = Path(sys.argv[1]), int(sys.argv[2])
os.environ["XDG_CACHE_HOME"] = str(artifacts.parent / "cache")
publish_tiny(artifacts)
server = FileServer(artifacts)
url = f"http://127.0.0.1:{port}/v2/models/tiny/infer"
entry = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
body = json.dumps({"inputs": [entry]}).encode()
head = {"num_cpus": 2, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
other = cluster.add_node(num_cpus=2)
ray.init(address=cluster.address, log_to_driver=False, logging_level=40)
serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
settings = {"artifact": "tiny", "artifacts": server.url, "scaling": {"min_replicas": 2, "max_replicas": 2}}
serve.run(app.model(settings), name="tiny", route_prefix="/v2/models/tiny")
spread = len(set(nodes()))
before = {answers() for _ in range(10)}
publish_tiny(artifacts)
told = versions_until("2")
first = min(at_s for at_s, version in told if version == "2")
last = max((at_s for at_s, version in told if version == "1"), default=first)
swap = {"together": last - first < 1.0, "fetched": server.models_sent(), "ready": ready()}
print("from the first answer of the new version to the last of the old one:", last - first, "s", file=sys.stderr)
cluster.remove_node(other, allow_graceful=False)
after = {answers() for _ in range(20)}
print(json.dumps({"spread": spread, "before": sorted(before), "swap": swap, "after": sorted(after)}))
serve.shutdown()
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_two_replicas_on_two_nodes_swap_together_and_one_that_is_lost_is_not_asked_again(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "there"), str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert json.loads(found) == {
        "spread": 2,
        "before": [[200, "1"]],
        "swap": {"together": True, "fetched": 2, "ready": ["1", "2"]},
        "after": [[200, "2"]],
    }
