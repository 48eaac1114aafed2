"""A classifier whose answers can be compared."""

from pathlib import Path

from optimization.artifact.store import Artifact, publish
from tests.conftest import save_tiny_model


def publish_classifier(root: Path, name: str = "tiny") -> Artifact:
    """The tiny model, which says that its output is probabilities."""
    root.mkdir(parents=True, exist_ok=True)
    return publish(
        root,
        {"model.onnx": save_tiny_model(root / "source.onnx")},
        name=name,
        inputs=[{"name": "features", "datatype": "FP32", "shape": ["batch", 4]}],
        outputs=[
            {"name": "probabilities", "datatype": "FP32", "shape": ["batch", 3], "meaning": "probabilities"},
        ],
        labels=["a", "b", "c"],
    )
