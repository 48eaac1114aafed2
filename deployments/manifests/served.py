"""What pods are to serve: `serve_config.yaml`, as it must read there."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from deployments.errors import SettingsError
from deployments.launch import preflight
from deployments.manifests.values import Values
from deployments.replicas.source import is_url

SHARED = "/srv/trimtab"
"""Where pods mount the volume with the folder of artifacts, beside which recipes keep their runs."""
ARTIFACTS = f"{SHARED}/artifacts"
_MODEL, _TELEMETRY = "deployments.app:model", "deployments.app:telemetry"


@dataclass(frozen=True, kw_only=True)
class Served:
    """The configuration, and what of it Kubernetes must know."""

    config: str
    """As YAML."""
    http_port: int
    grpc_port: int | None
    from_volume: bool
    """Whether a model's artifacts lie in a directory."""


def served(config: Mapping[str, Any], values: Values) -> Served:
    """`config` for pods: it listens on their network, and reads artifacts from `values.artifacts`.

    Raises:
        SettingsError: a setting breaks its rule, or holds a secret, which would stand in the manifest.
    """
    preflight.check_shape(config)
    found = copy.deepcopy(dict(config))
    applications = found.get("applications")
    if not isinstance(applications, list) or not all(isinstance(each, dict) for each in applications):
        raise SettingsError("serve_config.yaml: applications must be a list of mappings")
    preflight.models(found)  # each model's settings are checked
    from_volume = False
    for application in applications:
        args = application.setdefault("args", {}) or {}
        where = f"application {application.get('name', 'default')!r}: args"
        if application.get("import_path") == _TELEMETRY:
            _check_secrets(args, where)
        if application.get("import_path") == _MODEL:
            artifacts = args.get("artifacts", "artifacts")
            if not is_url(artifacts):
                args["artifacts"] = artifacts = values.artifacts.url or ARTIFACTS
            from_volume |= not is_url(artifacts)
        application["args"] = args
    http = {**(found.get("http_options") or {}), "host": "0.0.0.0"}
    found["http_options"] = http
    try:
        text = yaml.safe_dump(found, sort_keys=False)
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"serve_config.yaml must be what YAML can say, got: {error}") from error
    return Served(
        config=text,
        http_port=preflight.http_address(found)[1],
        grpc_port=preflight.grpc_port_of(found),
        from_volume=from_volume,
    )


def _check_secrets(args: Mapping[str, Any], where: str) -> None:
    """What the collector is told as text would be read by whoever may read the manifest."""
    for setting in ("forwarding", "remote_write"):
        for number, target in enumerate(args.get(setting) or ()):
            for name, value in (target.get("headers") or {}).items():
                if isinstance(value, str):
                    place = f"{where}.{setting}.{number}.headers.{name}"
                    raise SettingsError(f"{place} must name a file or an env, got a value: a manifest holds no secret")
    for number, channel in enumerate((args.get("notify") or {}).get("channels") or ()):
        url = channel.get("url")
        if url is None or (channel.get("kind") == "alertmanager" and not urlsplit(url).username):
            continue
        raise SettingsError(
            f"{where}.notify.channels.{number}.url must be url_env, got a value: an address that tells is a secret"
        )
