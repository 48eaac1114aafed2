"""A TensorFlow SavedModel, run by TensorFlow and converted by tf2onnx."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization.errors import GraphError
from optimization.extras import require
from optimization.readers.examples import Inputs

_SIGNATURE = "serving_default"
_OPSET = 18
"""The last that tf2onnx writes."""


class SavedModel:
    """The serving signature of a SavedModel."""

    def __init__(self, path: Path) -> None:
        self._tf = require("tensorflow", extra="tensorflow")
        self._path = path
        loaded = self._tf.saved_model.load(str(path))
        if _SIGNATURE not in loaded.signatures:
            known = ", ".join(loaded.signatures) or "none"
            raise GraphError(f"it must have the signature {_SIGNATURE!r}, got {known}")
        self._loaded, self._call = loaded, loaded.signatures[_SIGNATURE]

    @property
    def inputs(self) -> dict[str, tuple[tuple[int | None, ...], np.dtype[Any]]]:
        """Shape and type of each input."""
        described = self._call.structured_input_signature[1]
        return {name: (tuple(each.shape), np.dtype(each.dtype.as_numpy_dtype)) for name, each in described.items()}

    def predict(self, inputs: Inputs) -> NDArray[np.float32]:
        """The first output."""
        outputs = self._call(**{name: self._tf.constant(values) for name, values in inputs.items()})
        return np.asarray(next(iter(outputs.values())).numpy(), np.float32)

    def export(self, target: Path) -> None:
        """Write it as an ONNX file, by tf2onnx's command line: it has no function for SavedModels."""
        convert = require("tf2onnx.convert", extra="tensorflow")
        source = ["--saved-model", str(self._path), "--tag", "serve", "--signature_def", _SIGNATURE]
        sys.argv[1:] = [*source, "--output", str(target), "--opset", str(_OPSET)]
        convert.main()
