"""What the applications ask of Ray."""

from deployments import app


def test_what_the_head_node_must_find_lives_there():
    """Replicas send the collector their signals there, and the ingress of the head node its log to `server`."""
    for build in (app.server, app.telemetry):
        (deployment,) = [build({})._bound_deployment]
        assert deployment.ray_actor_options["resources"] == {"node:__internal_head__": 0.001}
