"""A model that Keras 3 saved as a `.keras` file, run and exported by Keras on torch; Keras refuses code within it."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.errors import GraphError
from optimization.extras import require
from optimization.foreign.model import random_batch
from optimization.graphs import simplify
from optimization.readers.examples import Inputs


class KerasFile:
    """The model of a `.keras` file."""

    def __init__(self, path: Path) -> None:
        self._keras = require("keras", extra="keras")
        self._model = self._keras.saving.load_model(path, compile=False)
        if not getattr(self._model, "inputs", None):
            raise GraphError("it must be a Sequential or functional model, whose inputs are known")
        self._flat = _Flat(self._keras, self._model).eval()

    @property
    def inputs(self) -> dict[str, tuple[tuple[int | None, ...], np.dtype[Any]]]:
        """Shape and type of each input."""
        return {each.name: (tuple(each.shape), np.dtype(each.dtype)) for each in self._model.inputs}

    def predict(self, inputs: Inputs) -> NDArray[np.float32]:
        """The first output."""
        with torch.inference_mode():
            outputs = self._flat(*map(torch.from_numpy, inputs.values()))
        return np.asarray(outputs[0].numpy(), np.float32)

    def export(self, target: Path) -> None:
        """Write it as an ONNX file.

        Keras's own export traces by TorchScript, which fails on attention and takes a length for a constant.
        """
        varying = tuple(_varying(shape) for shape, _ in self.inputs.values())
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        example = random_batch(self, 2, 5, np.random.default_rng(0))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.onnx.export(
                    self._flat,
                    tuple(map(torch.from_numpy, example.values())),
                    input_names=list(self.inputs),
                    output_names=[f"output_{number}" for number in range(len(self._model.outputs))],
                    dynamic_shapes=(varying,),
                    dynamo=True,
                    opset_version=simplify.OPSET,
                    verbose=False,
                )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = [line for line in str(error).splitlines() if line.strip("- (")][-2]
            advice = "with TensorFlow, model.export(folder) makes a SavedModel, which Trimtab takes too"
            raise GraphError(f"torch cannot export it: {reason}; {advice}") from error
        assert program is not None
        program.save(str(target), external_data=False)


class _Flat(nn.Module):
    """Takes the inputs one after the other and gives the outputs as a tuple, however Keras nests them."""

    def __init__(self, keras: Any, model: Any) -> None:
        super().__init__()
        self.keras, self.model = keras, model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        is_one = isinstance(self.model, self.keras.Sequential)
        nested = inputs[0] if is_one else self.keras.tree.pack_sequence_as(self.model.input, inputs)
        return tuple(self.keras.tree.flatten(self.model(nested, training=False)))


def _varying(shape: tuple[int | None, ...]) -> dict[int, Any]:
    batch = torch.export.Dim("batch")
    dynamic = torch.export.Dim.DYNAMIC
    return {axis: dynamic if axis else batch for axis, size in enumerate(shape) if size is None}
