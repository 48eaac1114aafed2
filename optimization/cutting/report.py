"""What the user sees of a cut: a table of the stages, and how to serve them."""

from dataclasses import dataclass

import yaml
from rich.console import Console

from optimization.artifact.store import Artifact
from optimization.report.terminal import columns

_WORTH_SAYING = 0.01


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """One stage of a cut."""

    num_nodes: int
    """Of its graph; those that several stages repeat count in each."""
    weights_bytes: int
    seconds: float
    """Of a call."""
    moved_bytes: int
    """What it is given for a call, by the request and by earlier stages."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A cut that was made."""

    stages: tuple[StageReport, ...]
    doubled_bytes: int
    """Weights that several stages need, beyond the first of them."""


def show(console: Console, artifact: Artifact, report: Report, batch_size: int) -> None:
    """Print the stages, and the part of `serve_config.yaml` that serves them."""
    manifest = artifact.manifest
    table = columns("part", "nodes", "weights", f"ms, batch {batch_size}", "kB moved in", "takes")
    table.title, table.title_justify = f"{manifest.name} {manifest.version}", "left"
    for number, (stage, part) in enumerate(zip(report.stages, manifest.parts, strict=True), 1):
        table.add_row(
            str(number),
            str(stage.num_nodes),
            f"{stage.weights_bytes / 1e6:.1f} MB",
            f"{stage.seconds * 1e3:.2f}",
            f"{stage.moved_bytes / 1e3:.1f}",
            ", ".join(spec.name for spec in part.inputs),
        )
    console.print(table)
    lines = ["the parts answer as the whole does, to the last bit"]
    if report.doubled_bytes >= _WORTH_SAYING * sum(stage.weights_bytes for stage in report.stages):
        lines.append(f"{report.doubled_bytes / 1e6:.1f} MB of weights are in more than one part")
    lines += [str(artifact.path), "", "in serve_config.yaml, each part a stage with replicas of its own:", ""]
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    console.print(served(artifact), highlight=False, soft_wrap=True, markup=False)


def served(artifact: Artifact) -> str:
    """The application that serves the parts as stages."""
    name = artifact.manifest.name
    application = {
        "name": name,
        "route_prefix": f"/v2/models/{name}",
        "import_path": "deployments.app:pipeline",
        "args": {"artifact": name, "artifacts": str(artifact.path.parents[1])},
    }
    return yaml.safe_dump({"applications": [application]}, sort_keys=False)
