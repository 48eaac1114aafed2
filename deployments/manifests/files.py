"""All manifests of a cluster, and the folder they are written to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deployments.manifests import around, node_groups, ray_clusters
from deployments.manifests.pods import Object, Plan
from deployments.manifests.served import served
from deployments.manifests.values import Values

VALUES, KUSTOMIZATION = "values.yaml", "kustomization.yaml"
_HEAD = "# Written by `python -m deployments manifest`; docs/kubernetes.md says more.\n"


class _Dumper(yaml.SafeDumper):
    """Repeats what is in two places, and keeps the lines of a text that has several."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def manifests(config: Mapping[str, Any], cluster: Mapping[str, Any], values: Values) -> dict[str, list[Object]]:
    """Objects, by the file they belong in: `recipes/` has what is applied by itself.

    Raises:
        SettingsError: one of the files says what cannot be.
    """
    hosts = node_groups.hosts(cluster)
    what = served(config, values)
    has_volume = what.from_volume or values.artifacts.claim is not None
    serving = Plan(name=hosts.name, values=values, served=what, has_volume=has_volume)
    recipes = Plan(name=serving.recipes, values=values, served=None, has_volume=has_volume, reports_to=serving.name)
    budget = around.disruption_budget(serving, hosts)
    return {
        "namespace.yaml": [around.namespace(serving)],
        "volumes.yaml": around.volumes(serving),
        "rayservice.yaml": [ray_clusters.ray_service(serving, hosts)],
        "services.yaml": around.services(serving),
        **({"disruption-budget.yaml": [budget]} if budget else {}),
        "network-policy.yaml": [around.network_policy(serving)],
        "recipes/raycluster.yaml": [ray_clusters.ray_cluster(recipes, hosts)],
        "recipes/network-policy.yaml": [around.network_policy(recipes)],
    }


def write(folder: Path, found: Mapping[str, list[Object]], values: Values) -> None:
    """The files, the values they were made with, and a `kustomization.yaml` for each folder."""
    for name, objects in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_HEAD + yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False))
    for part in (folder, folder / "recipes"):
        names = [name for name in found if (folder / name).parent == part]
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [Path(name).name for name in names],
        }
        (part / KUSTOMIZATION).write_text(_HEAD + yaml.safe_dump(kustomization, sort_keys=False))
    content = values.model_dump(mode="json", by_alias=True)
    (folder / VALUES).write_text(_HEAD + yaml.safe_dump(content, sort_keys=False))
