"""`manifest serve_config.yaml cluster.yaml -o DIR`: the same cluster, as manifests for Kubernetes."""

import argparse
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from deployments.errors import SettingsError
from deployments.manifests import files, values
from deployments.manifests.values import Values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two files, the values, and where the manifests go."""
    parser.add_argument("config", type=Path, metavar="serve_config.yaml", help="what is served")
    parser.add_argument("cluster", type=Path, metavar="cluster.yaml", help="on which hosts")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where manifests are written")
    parser.add_argument("--values", type=Path, metavar="FILE", help="what else to say of it (default: DIR/values.yaml)")


def run(options: argparse.Namespace, console: Console) -> int:
    """Write the manifests, and say what is to be done with them.

    Raises:
        SettingsError: one of the files says what cannot be, and nothing was written.
    """
    config, cluster = _read(options.config), _read(options.cluster)
    kept = options.output / files.VALUES
    chosen = values.read(options.values or (kept if kept.exists() else None), str(cluster.get("cluster_name", "")))
    found = files.manifests(config, cluster, chosen)
    files.write(options.output, found, chosen)
    _show(console, options.output, chosen)
    return 0


def _show(console: Console, folder: Path, chosen: Values) -> None:
    """What is to be done before the manifests are applied, and how."""
    space, secrets = chosen.namespace, chosen.secrets
    console.print(f"{folder}: first the namespace and its secrets, whose content these files do not hold:")
    commands = [f"kubectl apply -f {folder}/namespace.yaml"]
    commands.append(f"kubectl -n {space} create secret generic {secrets.keys} --from-file=keys.yaml")
    if secrets.certificate:
        file = "tls-combined.pem"
        commands.append(f"kubectl -n {space} create secret generic {secrets.certificate} --from-file={file}")
    for each in (*secrets.files, *secrets.environment, *([chosen.redis.secret] if chosen.redis else [])):
        if each:
            commands.append(f"kubectl -n {space} get secret {each}  # must be there")
    commands += [f"kubectl apply -k {folder}", f"kubectl apply -k {folder}/recipes  # to run recipes and score files"]
    for command in commands:
        console.print(f"  {command}", soft_wrap=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path} must be readable, got {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path} must be YAML, got: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} must hold a mapping, got {type(found).__name__}")
    return found
