"""`list`: the artifacts on disk, and which of them a server answers with."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deployments.commands.client import Client
from deployments.errors import CallError
from optimization.artifact.manifest import Manifest
from optimization.artifact.store import ArtifactError, load, versions


def listed(root: Path, client: Client) -> tuple[list[dict[str, Any]], str]:
    """Every version of every artifact under `root` and every model of the server; and why there is no server."""
    try:
        answering, trouble = served(client), ""
    except CallError as error:
        answering, trouble = {}, str(error)
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    found = [(name, str(version)) for name in names for version in versions(root, name)]
    rows = [_on_disk(root / name / version, version in answering.get(name, ())) for name, version in found]
    elsewhere = [
        (name, version) for name, held in answering.items() for version in held if (name, version) not in found
    ]
    rows += [{"name": name, "version": version, "served": True, "path": None} for name, version in elsewhere]
    return rows, trouble


def served(client: Client) -> dict[str, list[str]]:
    """The versions of each model that the server answers with.

    Raises:
        CallError: there is no server, or it refuses.
    """
    index = client.get("/v2/models")
    names = sorted({model["name"] for model in index if model["state"] == "READY"})
    return {name: client.get(f"/v2/models/{name}")["versions"] for name in names}


def show(console: Console, rows: list[dict[str, Any]], trouble: str) -> None:
    """The list as a table."""
    table = Table("artifact", "version", "served", "step", "quality", "size", "path")
    for row in rows:
        size = f"{row['size_bytes'] / 1e6:.2f} MB" if row.get("size_bytes") else ""
        step, quality = row.get("step", ""), row.get("quality", row.get("problem", ""))
        where = row["path"] or "only on the server"
        table.add_row(row["name"], row["version"], "yes" if row["served"] else "", step, quality, size, where)
    console.print(table)
    if trouble:
        console.print(f"what is served is not known: {trouble}", style="yellow", soft_wrap=True)


def _on_disk(path: Path, is_served: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"name": path.parent.name, "version": path.name, "served": is_served, "path": str(path)}
    try:
        manifest = load(path).manifest
    except ArtifactError as error:
        return row | {"problem": str(error)}
    row["size_bytes"] = manifest.model_bytes
    return row | _measured(manifest)


def _measured(manifest: Manifest) -> dict[str, Any]:
    """What the last step left; nothing for a model that no recipe made."""
    if not manifest.measurements:
        return {}
    last = manifest.measurements[-1]
    quality = last.quality
    return {
        "step": last.step,
        "quality": f"{quality.metric} {quality.value:.3f} [{quality.low:.3f}, {quality.high:.3f}]",
    }
