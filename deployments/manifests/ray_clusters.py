"""KubeRay's own kinds: a RayService that serves, and a RayCluster that runs recipes and scores files."""

from importlib.metadata import version

from deployments.manifests import pods
from deployments.manifests.node_groups import Hosts
from deployments.manifests.pods import Object, Plan

_API = "ray.io/v1"
_IDLE_S = 300
"""Seconds after which a worker that nobody uses goes, where their number may change."""


def ray_service(plan: Plan, hosts: Hosts) -> Object:
    """The cluster that serves, with what it serves.

    A change of `serveConfigV2` is made in place. A second cluster beside the first, KubeRay's usual way to follow other
    changes, would need the volume that the first one's head holds: so there is none.
    """
    assert plan.served is not None, "what serves has something to serve"
    return {
        "apiVersion": _API,
        "kind": "RayService",
        "metadata": _metadata(plan),
        "spec": {
            "upgradeStrategy": {"type": "None"},
            "serveConfigV2": plan.served.config,
            "rayClusterConfig": _cluster(plan, hosts),
        },
    }


def ray_cluster(plan: Plan, hosts: Hosts) -> Object:
    """The cluster that recipes, searches and offline scoring run on."""
    return {"apiVersion": _API, "kind": "RayCluster", "metadata": _metadata(plan), "spec": _cluster(plan, hosts)}


def _metadata(plan: Plan) -> Object:
    labels = {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/instance": plan.name}
    return {"name": plan.name, "namespace": plan.values.namespace, "labels": labels}


def _cluster(plan: Plan, hosts: Hosts) -> Object:
    found: Object = {
        "rayVersion": version("ray"),
        "authOptions": {"mode": "token"},
        "headGroupSpec": pods.head(plan, num_cpus=hosts.head_cpus, shares=not hosts.workers),
        "workerGroupSpecs": [pods.worker(plan, group) for group in hosts.workers],
    }
    if hosts.scale:
        found["enableInTreeAutoscaling"] = True
        found["autoscalerOptions"] = {
            "version": "v2",
            "idleTimeoutSeconds": _IDLE_S,
            "securityContext": pods.security(),
            "env": [{"name": "HOME", "value": "/tmp"}],
            "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
        }
    redis = plan.values.redis
    if redis is not None and plan.served is not None:
        found["gcsFaultToleranceOptions"] = {"redisAddress": redis.address}
        if redis.secret is not None:
            where = {"valueFrom": {"secretKeyRef": {"name": redis.secret, "key": "password"}}}
            found["gcsFaultToleranceOptions"]["redisPassword"] = where
    return found
