"""Which applications are models, and how often Ray is asked."""

import pytest
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from deployments.replicas.applications import LOOK_EVERY_S, MODELS, TABLES, Applications


def application(status, *deployments):
    return ApplicationStatusOverview(
        status=ApplicationStatus(status), message="", last_deployed_time_s=0.0, deployments=dict.fromkeys(deployments)
    )


BUILDERS = {
    "digits": "deployments.app:model",
    "both": "deployments.app:pipeline",
    "items": "deployments.app:embeddings",
    "server": "deployments.app:server",
    "telemetry": "deployments.app:telemetry",
}


@pytest.mark.parametrize(
    ("applications", "found"),
    [
        ({"digits": application("RUNNING", "Model")}, {"digits": True}),
        ({"digits": application("DEPLOYING", "Model")}, {"digits": False}),
        ({"digits": application("DEPLOY_FAILED")}, {"digits": False}),  # its builder found no artifact
        ({"digits": application("RUNNING", "Model"), "telemetry": application("DEPLOY_FAILED")}, {"digits": True}),
        (
            {"digits": application("RUNNING", "Model"), "telemetry": application("DEPLOY_FAILED", "Telemetry")},
            {"digits": True},
        ),
        ({"both": application("DEPLOY_FAILED")}, {"both": False}),
        ({"server": application("RUNNING", "Server"), "telemetry": application("DEPLOYING")}, {}),
    ],
)
def test_only_models_decide_whether_a_server_is_ready(applications, found):
    assert Applications(MODELS, lambda: applications, lambda: BUILDERS)() == found


@pytest.mark.parametrize(
    ("applications", "found"),
    [
        ({"items": application("RUNNING", "Embeddings"), "digits": application("RUNNING", "Model")}, {"items": True}),
        ({"items": application("DEPLOYING")}, {"items": False}),
    ],
)
def test_tables_are_told_from_models(applications, found):
    assert Applications(TABLES, lambda: applications, lambda: BUILDERS)() == found


def test_ray_is_asked_once_however_many_messages_come():
    asked = []
    now = [0.0]

    def statuses():
        asked.append(now[0])
        return {"digits": application("RUNNING", "Model")}

    models = Applications(MODELS, statuses, clock=lambda: now[0])
    for _ in range(1000):
        assert models() == {"digits": True}
    assert asked == [0.0]
    now[0] = LOOK_EVERY_S
    assert models() == {"digits": True}
    assert asked == [0.0, LOOK_EVERY_S]
