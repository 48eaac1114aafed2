"""An ingress on every node: Ray starts one where a replica runs, so each node has one that does nothing else."""

import os
from typing import Any

import ray
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from deployments.hosts.environment import EVERY_NODE

MOST_NODES = 10_000


class OnNode:
    """Keeps its node among those that have an ingress."""

    def __call__(self) -> None:
        """Nothing: nobody asks it."""


def as_many_as_nodes(_: AutoscalingContext) -> tuple[int, dict[str, object]]:
    """One replica for each node that lives."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return max(1, sum(node["Alive"] for node in nodes)), {}


def on_every_node() -> Application | None:
    """The deployment that does so, where the environment asks for it."""
    if os.environ.get(EVERY_NODE) != "1":
        return None
    policy = AutoscalingPolicy(policy_function=f"{__name__}:{as_many_as_nodes.__name__}")  # type: ignore[no-untyped-call]
    scaling = AutoscalingConfig(
        policy=policy, min_replicas=1, max_replicas=MOST_NODES, upscale_delay_s=0, downscale_delay_s=0
    )
    options = serve.deployment(autoscaling_config=scaling, max_replicas_per_node=1, ray_actor_options={"num_cpus": 0})
    deployment: Deployment = options(OnNode)
    return deployment.bind()
