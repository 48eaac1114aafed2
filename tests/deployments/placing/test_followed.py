"""Ray Serve puts the replicas where the proposal says, on a cluster of two nodes with a raylet each."""

import json
import subprocess
import sys

import pytest
import yaml

from deployments.placing.config import config, resources
from deployments.placing.traffic import Node, Traffic
from tests.conftest import free_port, publish_tiny

SCRIPT = """
import json, sys
from collections import Counter

import ray
from ray import serve
from ray._private.state import actors
from ray.cluster_utils import Cluster
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

given, port = json.loads(sys.argv[1]), int(sys.argv[2])
first, second = ({"num_cpus": 1, "resources": given["resources"].get(name, {})} for name in ("node-1", "node-2"))
cluster = Cluster(initialize_head=True, head_node_args={**first, "include_dashboard": False})
cluster.add_node(**second)
ray.init(address=cluster.address, log_to_driver=False, logging_level=40)
serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
_get_global_client().deploy_apps(ServeDeploySchema.model_validate(given["config"]), _blocking=True)
head = next(node["NodeID"] for node in ray.nodes() if "node:__internal_head__" in node["Resources"])
found = Counter()
for actor in actors().values():
    kind, _, name = actor["ActorClassName"].partition(":")
    if kind == "ServeReplica" and actor["State"] == "ALIVE":
        at = "node-1" if actor["Address"]["NodeID"] == head else "node-2"
        found[name.split(":")[0] + " on " + at] += 1
print(json.dumps(found))
serve.shutdown()
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_serve_follows_the_placement(tmp_path):
    """`uneven` is on the second node alone, `even` on both; with one CPU each, that has more threads than CPUs."""
    models = [{"artifact": name, "requests_per_s": 1, "latency_target_s": 1} for name in ("uneven", "even")]
    traffic = Traffic.model_validate({"models": models, "artifacts": str(tmp_path)})
    for name in ("uneven", "even"):
        publish_tiny(tmp_path, name)
    nodes = [Node(name=name, cpus=1, memory=2**30) for name in ("node-1", "node-2")]
    placement = ((0, 1), (1, 1))
    content = yaml.safe_load(yaml.safe_dump(config(traffic, nodes, placement)))
    content["applications"] = [one for one in content["applications"] if one["import_path"].endswith(":model")]
    given = json.dumps({"config": content, "resources": resources(traffic, nodes, placement)})
    command = [sys.executable, "-c", SCRIPT, given, str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert json.loads(found) == {"uneven on node-2": 1, "even on node-1": 1, "even on node-2": 1}
