"""Publishes a model that came from elsewhere, so that it can be served as any other artifact."""

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from optimization.artifact import store
from optimization.foreign import convert
from optimization.graphs import graph


def adopt(path: Path, root: Path, name: str, stream: Path | None = None) -> store.Artifact:
    """Publish the ONNX file, Keras file or SavedModel `path` as the next version of `name`.

    `stream` is a YAML file that says how a model that answers step by step is driven (`manifest.Stream`).

    Raises:
        GraphError: the file is damaged, keeps weights in other files, or cannot be converted or served.
        ArtifactError: the name breaks its rule, or `stream` does not fit the model.
    """
    with TemporaryDirectory(prefix="trimtab-") as folder:
        file, parity = convert.onnx_file(path, Path(folder))
        model = graph.read(file)
        return store.publish(
            root,
            {store.MODEL: file},
            name=name,
            inputs=graph.inputs(model),
            outputs=graph.outputs(model),
            parity=parity,
            stream=_yaml(stream) if stream else None,
            libraries={library: version(library) for library in ("onnx", "onnxruntime")},
        )


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise store.ArtifactError(f"{path} is no YAML: {error}") from error
