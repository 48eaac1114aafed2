"""cluster.yaml, checked by Ray's own validator."""

from pathlib import Path

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER = Path("cluster.yaml")


@pytest.fixture
def config():
    return yaml.safe_load(CLUSTER.read_text())


def test_ray_accepts_cluster_yaml(config):
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["provider"]["type"] == "local"
    (node_type,) = prepared["available_node_types"].values()
    assert node_type["max_workers"] == 2


def test_ray_bootstraps_cluster_yaml(config):
    """What `ray up` does before it first logs in to a host, down to the provider's own defaults."""
    bootstrapped = _bootstrap_config(config, no_config_cache=True)
    assert bootstrapped["head_node_type"] in bootstrapped["available_node_types"]
    assert bootstrapped["auth"]["ssh_user"] == config["auth"]["ssh_user"]


def test_rays_validator_would_find_a_mistake(config):
    config["head_start_ray_command"] = []
    with pytest.raises((ValidationError, ValueError)):
        validate_config(prepare_config(config))


def test_cluster_serves_what_the_laptop_serves(config):
    commands = " ".join(config["head_start_ray_commands"])
    assert "serve deploy serve_config.yaml" in commands
    served = yaml.safe_load(Path("serve_config.yaml").read_text())
    (servicer,) = served["grpc_options"]["grpc_servicer_functions"]
    assert f"--grpc-port {served['grpc_options']['port']} --grpc-servicer-functions {servicer}" in commands
    for variable in (
        "RAY_AUTH_MODE=token",
        "RAY_SERVE_ENABLE_HA_PROXY=1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED=1",
        "RAY_SERVE_HAPROXY_RETRY_ON=",
        "RAY_SERVE_HAPROXY_RETRIES=",
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT=",
        "RAY_SERVE_PROXY_USE_GRPC=0",
        "=deployments.ingress.servers:middlewares",
    ):
        assert variable in commands
        assert variable in " ".join(config["worker_start_ray_commands"])
