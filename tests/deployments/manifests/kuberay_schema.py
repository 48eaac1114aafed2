"""The part of KubeRay's published CRDs that the manifests use: `python -m tests.deployments.manifests.kuberay_schema
../shared/kuberay` writes it anew into the folder `kuberay` beside this file.

KubeRay is under Apache-2.0 (github.com/ray-project/kuberay, `ray-operator/config/crd/bases`). Of each CRD the version
`v1` is kept, without descriptions; and pod templates, containers' parts and Services, which are Kubernetes' own kinds,
are left to its schemas (`kubernetes-validate`).
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("kuberay")
FILES = {"RayCluster": "ray.io_rayclusters.yaml", "RayService": "ray.io_rayservices.yaml"}
_OF_KUBERNETES = {
    "template", "headService", "serveService", "env", "envFrom", "volumeMounts", "securityContext", "resources",
}  # fmt: skip


def trimmed(crd: dict[str, Any]) -> dict[str, Any]:
    """The schema of version v1 as JSON schema in which a field that it does not know is an error."""
    (version,) = (each for each in crd["spec"]["versions"] if each["name"] == "v1")
    schema = version["schema"]["openAPIV3Schema"]
    del schema["properties"]["status"]
    schema["properties"]["metadata"] = {"type": "object", "properties": {}, "x-preserve": True}
    return _part(schema)


def _part(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: schema[name] for name in ("type", "enum", "required", "format", "minimum", "maximum") if name in schema
    }
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "properties" in schema:
        properties = schema["properties"].items()
        kept["properties"] = {
            name: {"type": each["type"]}
            if name in _OF_KUBERNETES and each["type"] in ("object", "array")
            else _part(each)
            for name, each in properties
        }
        if not schema.get("x-preserve"):
            kept["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = _part(schema["additionalProperties"])
    if "items" in schema:
        kept["items"] = _part(schema["items"])
    return kept


def main() -> None:
    for kind, file in FILES.items():
        crd = yaml.load((Path(sys.argv[1]) / file).read_text(), Loader=yaml.CSafeLoader)
        FOLDER.joinpath(f"{kind}.json").write_text(json.dumps(trimmed(crd), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
