"""Checks that an ONNX file which came from elsewhere answers for a recipe's data, and finds out what it answers."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from optimization.artifact.manifest import Meaning
from optimization.errors import RecipeError
from optimization.graphs import graph, outputs
from optimization.readers.examples import Dataset

_SLACK = 1e-3
"""How far probabilities may lie beyond [0, 1], for rounding."""
_NUM_TRIED = 64


def check(path: Path, model: onnx.ModelProto, dataset: Dataset, said: Meaning | None) -> Meaning:
    """Run the file on some samples; return what its first output is, as its graph tells or the recipe has `said`.

    Raises:
        RecipeError: its inputs are not the data's, its first output is not a number for each class or label, or
            what that number is cannot be told.
    """
    wanted, given = {each.name for each in graph.inputs(model)}, set(dataset.train.inputs)
    if wanted != given:
        raise RecipeError(f"teacher.onnx {path} must take {sorted(given)} as the data has it, got {sorted(wanted)}")
    batch = next(iter(dataset.validation.batches(_NUM_TRIED)))[1]
    try:
        output = graph.predict(graph.session(path), batch)
    except Exception as error:  # ONNX Runtime's errors share no base but this
        raise RecipeError(f"teacher.onnx {path} cannot take the data: {error}") from error
    num_samples, num_labels = len(next(iter(batch.values()))), len(dataset.labels)
    sizes = sorted({dataset.num_outputs, num_labels or dataset.num_outputs})
    if output.shape not in {(num_samples, size) for size in sizes}:
        expected = " or ".join(str([num_samples, size]) for size in sizes)
        raise RecipeError(
            f"teacher.onnx {path} must give {expected} for {num_samples} samples, got {list(output.shape)}"
        )
    if dataset.task.output == "values":
        return "values"
    return _agreed(path, outputs.meanings(model)[0], said, output)


def _agreed(path: Path, told: Meaning | None, said: Meaning | None, output: NDArray[np.float32]) -> Meaning:
    if told is None and said is None:
        raise RecipeError(
            f"teacher.output must be logits or probabilities: the graph of {path} ends in no softmax or sigmoid that "
            f"would tell, and its outputs lie in [{output.min():.4g}, {output.max():.4g}]"
        )
    if told is not None and said is not None and told != said:
        raise RecipeError(f"teacher.output must be {told}, as the graph of {path} ends, got {said}: leave it out")
    meaning = said or told
    assert meaning is not None, "one of them tells"
    if meaning == "probabilities" and not (output.min() >= -_SLACK and output.max() <= 1 + _SLACK):
        raise RecipeError(
            f"teacher.output must be logits: {path} gives numbers in [{output.min():.4g}, {output.max():.4g}], "
            "and probabilities lie in [0, 1]"
        )
    return meaning
