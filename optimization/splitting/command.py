"""`python -m optimization split-embeddings`: splits, and says how both halves are served."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from optimization.artifact import store

if TYPE_CHECKING:
    from optimization.splitting.split import Split


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument("artifact", type=Path, help="a version's directory, such as artifacts/recommender/1")
    parser.add_argument(
        "--table",
        action="append",
        default=[],
        metavar="NAME",
        help="an initializer to split off, once for each (all that are looked up and take 1 MiB or more)",
    )
    parser.add_argument("--name", help="the new artifact's name (that of the artifact, and -split)")
    parser.add_argument("--tables", type=Path, default=Path("tables"), help="where the tables are written (tables)")


def run(options: argparse.Namespace) -> None:
    """Split the artifact, and print what became of it.

    Raises:
        GraphError: its graph has no such table.
        ArtifactError: it is damaged.
    """
    from optimization.splitting.split import split  # loads torch, which the other commands need not wait for

    whole = store.load(options.artifact)
    name = options.name or f"{whole.manifest.name}-split"
    done = split(whole, options.artifacts, name, options.tables, tuple(options.table))
    print(report(done, options.artifacts))
    if whole.manifest.preprocessing is not None:
        print("raw input is not taken any more: requests carry ids")


def report(done: "Split", artifacts: Path) -> str:
    """What was split off, and the piece of `serve_config.yaml` that serves it."""
    manifest = done.artifact.manifest
    lines = [
        f"{each.path}: {each.rows} rows of {each.width}, {each.dtype}, sha256 {each.sha256}" for each in done.tables
    ]
    lines.append(f"{done.artifact.path}: {manifest.model_bytes} bytes without them")
    lines.append(
        "outputs equal those of the whole model, bit for bit"
        if not done.difference
        else f"outputs differ from the whole model's by up to {done.difference:.1e}: ONNX Runtime fuses it otherwise"
    )
    return "\n".join([*lines, "", yaml.safe_dump(serve_config(done, artifacts), sort_keys=False).rstrip()])


def serve_config(done: "Split", artifacts: Path) -> dict[str, object]:
    """The applications: a table each, and the model."""
    name = done.artifact.manifest.name
    tables = [
        {
            "name": each.name,
            "route_prefix": f"/v2/embeddings/{each.name}",
            "import_path": "deployments.app:embeddings",
            "args": {
                "table": each.name,
                "rows": each.rows,
                "width": each.width,
                "dtype": each.dtype,
                "initial": str(each.path.absolute()),
                "initial_sha256": each.sha256,
            },
        }
        for each in done.tables
    ]
    model = {
        "name": name,
        "route_prefix": f"/v2/models/{name}",
        "import_path": "deployments.app:model",
        "args": {
            "artifact": name,
            "artifacts": str(artifacts),
            "embeddings": {rows: {"table": each.name} for each in done.tables for rows in each.inputs},
        },
    }
    return {"applications": [*tables, model]}
