"""Functions that put what several stages gave together, ready to be named as a stage's `call`."""

from collections.abc import Mapping

import numpy as np

from deployments.oip.tensors import Array


def mean(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The mean of all tensors that it takes, as `mean`: an ensemble of models that give the same."""
    arrays = list(tensors.values())
    whole: Array = np.mean(arrays, axis=0, dtype=arrays[0].dtype)
    return {"mean": whole}
