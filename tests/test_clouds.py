"""The variants of cluster.yaml for clouds, checked by Ray's own validator."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from deployments.manifests.node_groups import hosts

CLOUDS = {
    path.stem: path for path in sorted(Path("docs/clusters").glob("*.yaml")) if path.stem in ("aws", "gcp", "azure")
}


@pytest.fixture(params=CLOUDS)
def config(request):
    return yaml.safe_load(CLOUDS[request.param].read_text())


def test_there_is_one_for_each():
    assert set(CLOUDS) == {"aws", "gcp", "azure"}


def test_ray_accepts_it(config):
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    assert prepared["provider"]["type"] in CLOUDS
    sizes = {
        name: (each["min_workers"], each["max_workers"]) for name, each in prepared["available_node_types"].items()
    }
    assert sizes == {"head": (0, 0), "cpu": (2, 4), "gpu": (0, 2)}


def test_rays_validator_would_find_a_mistake(config):
    config["available_node_types"]["cpu"]["min_worker"] = 1
    with pytest.raises((ValidationError, ValueError)):
        validate_config(prepare_config(config))


def test_it_installs_and_starts_what_cluster_yaml_does(config):
    """But for the hosts' firewall: a cloud's own keeps others from its machines, which have no public address."""
    own = yaml.safe_load(Path("cluster.yaml").read_text())
    if "install.sh" not in str(own["file_mounts"]):
        pytest.skip("cluster.yaml installs in another way")
    assert config["file_mounts"] == own["file_mounts"]
    assert config["setup_commands"][0] in own["setup_commands"]
    for setting in ("head_start_ray_commands", "worker_start_ray_commands"):
        (expected,), (found,) = (
            [re.sub(r"(?<=TRIMTAB_ARTIFACTS=)\S+| --private \S+", "", each) for each in of[setting]]
            for of in (own, config)
        )
        assert found.startswith(expected)


def test_no_machine_has_a_public_address(config):
    assert config["provider"]["use_internal_ips"] is True


def test_the_same_cluster_can_be_written_for_kubernetes(config):
    found = hosts(config)
    assert [(group.name, group.num_gpus) for group in found.workers] == [("cpu", 0), ("gpu", 1)]
    assert found.scale
