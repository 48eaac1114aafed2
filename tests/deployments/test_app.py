"""What the applications ask of Ray."""

import ray
from ray.serve import Application
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


def test_a_replica_that_was_killed_is_missed_within_seconds(tmp_path, monkeypatch):
    """Ray looks every ten seconds where it is told nothing; another five go by until the next replica answers."""
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    publish_tiny(tmp_path)
    stage = {"name": "only", "artifact": "tiny"}
    chain = {"pipeline": "chain", "stages": [stage], "outputs": {"probabilities": "only.probabilities"}}
    where = {"artifacts": tmp_path}
    table = {"table": "items", "rows": 10, "width": 2}
    built = [app.server({}), app.telemetry({}), app.embeddings(table)]
    for each in (*built, app.model({"artifact": "tiny"} | where), app.pipeline(chain | where)):
        own = each._bound_deployment
        inner = [arg._bound_deployment for arg in own.init_args if isinstance(arg, Application)]
        assert all(one._deployment_config.health_check_period_s <= 2 for one in (own, *inner))
