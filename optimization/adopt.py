"""Publishes an ONNX file that came from elsewhere, so that it can be served as any other artifact."""

from importlib.metadata import version
from pathlib import Path

from optimization import artifact, graph


def adopt(path: Path, root: Path, name: str) -> artifact.Artifact:
    """Publish the ONNX file `path` as the next version of `name`; inputs and outputs are read from its graph.

    Raises:
        GraphError: the file is damaged, keeps weights in other files, or cannot be served.
        ArtifactError: the name breaks its rule.
    """
    model = graph.read(path)
    return artifact.publish(
        root,
        {artifact.MODEL: path},
        name=name,
        inputs=graph.inputs(model),
        outputs=graph.outputs(model),
        libraries={library: version(library) for library in ("onnx", "onnxruntime")},
    )
