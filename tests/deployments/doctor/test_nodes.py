"""The nodes of a cluster that runs are asked, each by itself."""

import json
import subprocess
import sys

import pytest

from deployments.doctor import nodes
from deployments.doctor.finding import Verdict
from tests.conftest import free_port

SCRIPT = """
import subprocess, sys, ray
address = ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level=40).address_info["gcs_address"]
command = [sys.executable, "-m", "deployments", "doctor", "--address", address, "--json"]
print(subprocess.run(command, capture_output=True, text=True).stdout)
"""


@pytest.mark.ray
@pytest.mark.long
def test_the_nodes_of_a_cluster_tell_whether_they_are_fit_and_reach_each_other():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(done.stdout[done.stdout.index("{") :])["findings"]
    (cluster,) = [each["found"] for each in found if each["what"] == "cluster"]
    assert cluster.startswith("1 nodes, Ray ")
    assert not [each for each in found if each["what"] in ("reachability", "node")]


def test_a_cluster_that_does_not_answer_is_a_fault_with_what_to_do():
    answers, (found,) = nodes.asked(f"127.0.0.1:{free_port()}")
    assert answers == []
    assert found.verdict is Verdict.FAULT
    assert "--address HOST:6379" in found.mend
