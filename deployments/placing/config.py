"""Writes a placement as `serve_config.yaml`, so that Ray Serve follows it.

Serve has no setting for "two here, one there". Where a model has the same number of replicas on every node,
`max_replicas_per_node` says it all. Where it has not, each replica takes one unit of a resource that the nodes are
started with, as many on each as it is to have replicas. Replicas reserve CPUs by `num_cpus`: where a node has fewer
CPUs than threads, they reserve a part of what they use, or not all of them would start.
"""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from deployments.placing.placement import Placement
from deployments.placing.traffic import ExpectedModel, Node, Traffic
from deployments.settings import ModelSettings

_AROUND: dict[str, Any] = {
    "proxy_location": "EveryNode",
    "http_options": {"host": "127.0.0.1", "port": 8000},
    "grpc_options": {"port": 8001, "grpc_servicer_functions": ["deployments.oip.grpc_service:add_to_server"]},
    "logging_config": {"log_level": "WARNING", "enable_access_log": False},
}
_BESIDES: list[dict[str, Any]] = [
    {"name": "server", "route_prefix": "/v2", "import_path": "deployments.app:server"},
    {"name": "telemetry", "route_prefix": "/telemetry", "import_path": "deployments.app:telemetry"},
]
_DEPLOYMENT = "Model"
"""The class that `deployments.app:model` deploys."""
_CPU_STEPS = 10_000
"""Ray counts resources in such parts of one."""


def config(traffic: Traffic, nodes: Sequence[Node], placement: Placement) -> dict[str, Any]:
    """What `serve_config.yaml` is to hold."""
    models = [
        _application(model, traffic, on, _reserved_cpus(traffic, nodes, placement, number))
        for number, (model, on) in enumerate(zip(traffic.models, placement, strict=True))
    ]
    return {**_AROUND, "applications": [*models, *_BESIDES]}


def text(content: Mapping[str, Any], traffic: Traffic, nodes: Sequence[Node], placement: Placement) -> str:
    """The file, with a word on how the nodes are to be started."""
    lines = ["Written by `python -m deployments place`; each setting is described in docs/settings.md."]
    if starts := start_options(traffic, nodes, placement):
        lines.append("Replicas find their nodes by resources that each node is to be started with:")
        lines += [f"  {name}: ray start {option}" for name, option in starts.items()]
    return "".join(f"# {line}\n" for line in lines) + yaml.safe_dump(dict(content), sort_keys=False)


def resources(traffic: Traffic, nodes: Sequence[Node], placement: Placement) -> dict[str, dict[str, int]]:
    """By node, the resources that Ray is to be started with there; none where all models are on all nodes alike."""
    uneven = [(model, on) for model, on in zip(traffic.models, placement, strict=True) if len(set(on)) > 1]
    given = {node.name: {_resource(model): on[at] for model, on in uneven if on[at]} for at, node in enumerate(nodes)}
    return {name: own for name, own in given.items() if own}


def start_options(traffic: Traffic, nodes: Sequence[Node], placement: Placement) -> dict[str, str]:
    """The same as options of `ray start`."""
    given = resources(traffic, nodes, placement)
    return {name: f"--resources={shlex.quote(json.dumps(own))}" for name, own in given.items()}


def _application(model: ExpectedModel, traffic: Traffic, on: Sequence[int], cpus: float) -> dict[str, Any]:
    args: dict[str, Any] = {"artifact": model.artifact}
    if traffic.artifacts != ModelSettings.model_fields["artifacts"].default:
        args["artifacts"] = traffic.artifacts
    args |= {
        "max_batch_size": model.max_batch_size,
        "num_threads": model.num_threads,
        "latency_target_s": model.latency_target_s or traffic.latency_target_s,
        "accelerator": "cpu",  # where its times were measured
        "scaling": {"min_replicas": sum(on), "max_replicas": sum(on)},
    }
    options: dict[str, Any] = {"num_cpus": cpus}
    if len(set(on)) > 1:
        options["resources"] = {_resource(model): 1}
    return {
        "name": model.artifact,
        "route_prefix": f"/v2/models/{model.artifact}",
        "import_path": "deployments.app:model",
        "args": args,
        "deployments": [{"name": _DEPLOYMENT, "max_replicas_per_node": max(on), "ray_actor_options": options}],
    }


def _resource(model: ExpectedModel) -> str:
    return f"replicas-of-{model.artifact}"


def _reserved_cpus(traffic: Traffic, nodes: Sequence[Node], placement: Placement, model: int) -> float:
    """CPUs that a replica reserves: its threads, or the part that the fullest of the model's nodes has for them."""
    own = traffic.models[model].num_threads
    part = 1.0
    for at, node in enumerate(nodes):
        if placement[model][at]:
            threads = sum(each.num_threads * on[at] for each, on in zip(traffic.models, placement, strict=True))
            part = min(part, node.cpus / threads)
    return math.floor(own * part * _CPU_STEPS) / _CPU_STEPS
