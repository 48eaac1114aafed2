"""The class that a classifier's outputs stand for."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deployments.oip.tensors import Array
from optimization.artifact import cascade
from optimization.artifact.manifest import Manifest


def is_classifier(manifest: Manifest) -> bool:
    """Whether its first output tells a class of each row."""
    first = manifest.outputs[0]
    return first.meaning in ("logits", "probabilities") and len(first.shape) == 2


def classes(manifest: Manifest, outputs: Mapping[str, Array]) -> NDArray[np.int64]:
    """The class of each row, by the first output of a classifier."""
    first = manifest.outputs[0]
    form: cascade.Form = "logits" if first.meaning == "logits" else "probabilities"
    logits = cascade.logits(outputs[first.name], form)
    return (logits[:, 0] > 0).astype(np.int64) if logits.shape[1] == 1 else logits.argmax(axis=1)
