"""Models and their parts in ONNX Runtime, on one thread as they will be served, and whether answers are equal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

from optimization.artifact.session import CPU, serving_options
from optimization.artifact.store import Artifact
from optimization.errors import CutError
from optimization.readers.examples import Inputs


def options(folder: Path, *, optimized: bool = True) -> SessionOptions:
    """Settings of a session of a model from memory whose weights, where they are not in it, lie in `folder`."""
    settings = _options()
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    if not optimized:
        settings.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    return settings


def session(model: onnx.ModelProto, settings: SessionOptions) -> InferenceSession:
    """A session of a model in memory.

    Raises:
        CutError: it cannot be run.
    """
    try:
        return InferenceSession(model.SerializeToString(), settings, providers=[CPU])
    except Exception as error:  # ONNX Runtime's errors share no base but this
        raise CutError(f"ONNX Runtime cannot run the model: {error}") from error


def load(artifact: Artifact) -> list[InferenceSession]:
    """A session of each part, from its file."""
    return [
        InferenceSession(artifact.path / part.file, _options(), providers=[CPU]) for part in artifact.manifest.graphs
    ]


def run_in_turn(parts: Sequence[InferenceSession], feeds: Inputs) -> Inputs:
    """All tensors: those that were given, and those that each part made of them and of what earlier ones made."""
    tensors = dict(feeds)
    for part in parts:
        names = [each.name for each in part.get_outputs()]
        tensors |= zip(names, part.run(names, taken(part, tensors)), strict=True)
    return tensors


def taken(part: InferenceSession, tensors: Inputs) -> Inputs:
    """Those that the part takes."""
    return {each.name: tensors[each.name] for each in part.get_inputs()}


def same(one: Inputs, other: Inputs) -> bool:
    """Whether tensors are equal to the last bit; the names are those of `one`."""
    return all(_same(array, other[name]) for name, array in one.items())


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype == object:
        return np.array_equal(one, other)
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def _options() -> SessionOptions:
    settings = serving_options(num_threads=1)
    settings.log_severity_level = 4
    return settings
