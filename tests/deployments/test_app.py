"""What the applications ask of Ray."""

import ray
from ray.serve._private import constants

from deployments import app
from tests.conftest import publish_tiny


def test_what_the_head_node_must_find_lives_there():
    """Replicas send the collector their signals there, and the ingress of the head node its log to `server`."""
    for build in (app.server, app.telemetry):
        (deployment,) = [build({})._bound_deployment]
        assert deployment.ray_actor_options["resources"] == {"node:__internal_head__": 0.001}


def test_a_replica_that_goes_has_as_long_for_its_streams_as_an_ingress_that_was_replaced(tmp_path, monkeypatch):
    """The shorter of the two would cut them."""
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    publish_tiny(tmp_path)
    stage = {"name": "only", "artifact": "tiny"}
    chain = {"pipeline": "chain", "stages": [stage], "outputs": {"probabilities": "only.probabilities"}}
    for built in (
        app.model({"artifact": "tiny", "artifacts": tmp_path}),
        app.pipeline(chain | {"artifacts": tmp_path}),
    ):
        config = built._bound_deployment._deployment_config
        assert config.graceful_shutdown_timeout_s >= constants.RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S
