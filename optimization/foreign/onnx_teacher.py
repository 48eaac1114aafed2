"""Checks that an ONNX file which came from elsewhere answers for a recipe's data."""

from pathlib import Path

import onnx

from optimization.errors import RecipeError
from optimization.graphs import graph
from optimization.readers.examples import Dataset


def check(path: Path, model: onnx.ModelProto, dataset: Dataset) -> None:
    """Run the file on two samples.

    Raises:
        RecipeError: its inputs are not the data's, or its first output is not a number for each class.
    """
    wanted, given = {each.name for each in graph.inputs(model)}, set(dataset.train.inputs)
    if wanted != given:
        raise RecipeError(f"teacher.onnx {path} must take {sorted(given)} as the data has it, got {sorted(wanted)}")
    batch = next(iter(dataset.held_out.batches(2)))[1]
    try:
        output = graph.predict(graph.session(path), batch)
    except Exception as error:  # ONNX Runtime's errors share no base but this
        raise RecipeError(f"teacher.onnx {path} cannot take the data: {error}") from error
    if output.shape != (2, dataset.num_outputs):
        expected = [2, dataset.num_outputs]
        raise RecipeError(f"teacher.onnx {path} must give {expected} for two samples, got {list(output.shape)}")
