"""Publishes a model that came from elsewhere, so that it can be served as any other artifact."""

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from optimization.artifact import store
from optimization.artifact.manifest import Meaning
from optimization.errors import GraphError
from optimization.foreign import convert
from optimization.graphs import graph, outputs


def adopt(
    path: Path, root: Path, name: str, stream: Path | None = None, output: Meaning | None = None
) -> store.Artifact:
    """Publish the ONNX file, Keras file or SavedModel `path` as the next version of `name`.

    `stream` is a YAML file that says how a model that answers step by step is driven (`manifest.Stream`).

    The graph tells what it gives; where it does not, `output` says so of the first output.

    Raises:
        GraphError: the file is damaged, keeps weights in other files, cannot be converted or served, or does not end in
            what `output` says.
        ArtifactError: the name breaks its rule, or `stream` does not fit the model.
    """
    with TemporaryDirectory(prefix="trimtab-") as folder:
        file, parity = convert.onnx_file(path, Path(folder))
        model = graph.read(file)
        first, *others = outputs.meanings(model)
        if output is not None and first not in (None, output):
            raise GraphError(f"--output must be {first}, as the graph of {path} ends, got {output}: leave it out")
        return store.publish(
            root,
            {store.MODEL: file},
            name=name,
            inputs=graph.inputs(model),
            outputs=graph.outputs(model, first or output, *others),
            parity=parity,
            stream=_yaml(stream) if stream else None,
            libraries={library: version(library) for library in ("onnx", "onnxruntime")},
        )


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise store.ArtifactError(f"{path} is no YAML: {error}") from error
