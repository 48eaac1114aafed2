"""The hosts that `cluster.yaml` describes, as groups of equal pods."""

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from deployments.errors import SettingsError, brief

MAX_NAME = 40
"""KubeRay makes names of pods and services from the cluster's, which Kubernetes lets have 63 characters."""
_NAME = re.compile(rf"[a-z]([-a-z0-9]{{0,{MAX_NAME - 2}}}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Pods that are alike."""

    name: str
    smallest: int
    largest: int
    """Pods, at least and at most."""
    num_cpus: int | None
    """Of each; none where `cluster.yaml` does not say."""
    num_gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """All of `cluster.yaml` that pods can follow."""

    name: str
    head_cpus: int | None
    workers: tuple[NodeGroup, ...]

    @property
    def scale(self) -> bool:
        """Whether the number of pods may change."""
        return any(group.smallest < group.largest for group in self.workers)


def hosts(cluster: Mapping[str, Any]) -> Hosts:
    """What a parsed `cluster.yaml` asks for.

    Raises:
        SettingsError: Ray would refuse the file, or Kubernetes the cluster's name.
    """
    _check(cluster)
    name = cluster["cluster_name"]
    if not _NAME.fullmatch(name):
        rule = f"at most {MAX_NAME} lower-case letters, digits and hyphens, beginning with a letter, for Kubernetes"
        raise SettingsError(f"cluster.yaml: cluster_name must have {rule}, got {brief(name)}")
    types = cluster.get("available_node_types")
    if types is None:
        largest = cluster.get("max_workers", len(cluster["provider"].get("worker_ips") or ()))
        smallest = cluster.get("min_workers", largest)
        if not isinstance(smallest, int) or smallest < 0:
            raise SettingsError(f"cluster.yaml: min_workers must be a whole number, got {brief(smallest)}")
        smallest = min(smallest, largest)
        worker = NodeGroup(name="worker", smallest=smallest, largest=largest, num_cpus=None)
        return Hosts(name=name, head_cpus=None, workers=(worker,) if largest else ())
    head = cluster.get("head_node_type")
    if head not in types:
        raise SettingsError(f"cluster.yaml: head_node_type must be one of {', '.join(types)}, got {brief(head)}")
    most = cluster.get("max_workers", 2)  # Ray's own default
    groups = tuple(_group(each, given, most) for each, given in types.items() if each != head or _works(given))
    names = [group.name for group in groups]
    if len(set(names)) < len(names):
        raise SettingsError(f"cluster.yaml: node types must have names of their own, got {', '.join(names)}")
    return Hosts(name=name, head_cpus=_count(types[head], "CPU"), workers=groups)


def _check(cluster: Mapping[str, Any]) -> None:
    """By Ray's own schema, which is read without Ray: to import that takes seconds."""
    spec = importlib.util.find_spec("ray")
    assert spec is not None and spec.origin is not None, "Trimtab depends on Ray"
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    counted = (
        {"min_workers"} if "available_node_types" not in cluster else set()
    )  # what Ray takes of hosts of one's own
    given = {name: value for name, value in cluster.items() if name not in counted}
    try:
        error = next(Draft7Validator(schema).iter_errors(given), None)
    except RecursionError as problem:
        raise SettingsError("cluster.yaml must not be nested as deeply as it is") from problem
    if error is not None:
        where = ".".join(map(str, error.absolute_path)) or "the file"
        raise SettingsError(f"cluster.yaml: {where}: {error.message[:300]}")


def _works(head: Mapping[str, Any]) -> bool:
    """Whether nodes of the head's type are also started as workers."""
    return bool(head.get("max_workers", 0))


def _group(name: str, given: Mapping[str, Any], most: int) -> NodeGroup:
    largest = min(given.get("max_workers", most), most)
    return NodeGroup(
        name=re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"),
        smallest=min(given.get("min_workers", 0), largest),
        largest=largest,
        num_cpus=_count(given, "CPU"),
        num_gpus=_count(given, "GPU") or 0,
    )


def _count(given: Mapping[str, Any], resource: str) -> int | None:
    value = (given.get("resources") or {}).get(resource)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SettingsError(f"cluster.yaml: resources.{resource} must be a whole number, got {brief(value)}")
    return value
