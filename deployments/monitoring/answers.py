"""What a model's outputs stand for, to be compared: the class of a row, or its number."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deployments.oip.tensors import Array
from optimization.artifact import cascade
from optimization.artifact.manifest import Manifest


def is_classifier(manifest: Manifest) -> bool:
    """Whether its first output tells a class of each row."""
    first = manifest.outputs[0]
    return manifest.task != "multi_label" and first.meaning in ("logits", "probabilities") and len(first.shape) == 2


def is_regressor(manifest: Manifest) -> bool:
    """Whether its first output is one number of each row."""
    first = manifest.outputs[0]
    return first.meaning == "values" and (len(first.shape) == 1 or tuple(first.shape[1:]) == (1,))


def numbers(manifest: Manifest, outputs: Mapping[str, Array]) -> NDArray[np.float64]:
    """The number of each row, by the first output of a regressor."""
    return outputs[manifest.outputs[0].name].astype(np.float64).reshape(-1)


def classes(manifest: Manifest, outputs: Mapping[str, Array]) -> NDArray[np.int64]:
    """The class of each row, by the first output of a classifier."""
    first = manifest.outputs[0]
    form: cascade.Form = "logits" if first.meaning == "logits" else "probabilities"
    logits = cascade.logits(outputs[first.name], form)
    return (logits[:, 0] > 0).astype(np.int64) if logits.shape[1] == 1 else logits.argmax(axis=1)
