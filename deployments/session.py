"""One ONNX Runtime session: the artifact's model, ready to predict."""

import time
from collections.abc import Mapping

import numpy as np
import onnxruntime

from deployments.elements import as_text, run_bfloat16
from deployments.tensors import DTYPES, Array
from optimization.artifact import Artifact, TensorSpec

QUICK_S = 0.0005
"""Handing a batch to a thread and back costs up to this much while the event loop is busy."""


class Session:
    """The model of an artifact, loaded and warm. `run` may be called from any thread."""

    def __init__(self, artifact: Artifact, *, num_threads: int, max_batch_size: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # Threads that spin for work take CPU from the other replicas of the node.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(artifact.model_path, options, providers=_providers())
        self._outputs = [spec.name for spec in artifact.manifest.outputs]
        tensors = (*artifact.manifest.inputs, *artifact.manifest.outputs)
        self._has_bfloat16 = any(spec.datatype == "BF16" for spec in tensors)
        self.max_batch_size = _largest_batch(artifact.manifest.inputs, max_batch_size)
        self.run(_zeros(artifact.manifest.inputs, 1))
        self.is_quick = self._seconds(_zeros(artifact.manifest.inputs, self.max_batch_size)) < QUICK_S
        """Whether even the largest batch takes so little that it may run in the event loop."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name.

        Raises:
            RequestError: an input that is text is not UTF-8.
        """
        feeds = {name: as_text(name, array) if array.dtype == object else array for name, array in feeds.items()}
        if self._has_bfloat16:
            return dict(zip(self._outputs, run_bfloat16(self._session, self._outputs, feeds), strict=True))
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))

    def _seconds(self, feeds: Mapping[str, Array]) -> float:
        """How long the model takes for `feeds` once warm: the best of five."""
        durations: list[float] = []
        for _ in range(6):
            began = time.perf_counter()
            self.run(feeds)
            durations.append(time.perf_counter() - began)
        return min(durations[1:])


def _providers() -> list[str]:
    """CUDA where this build and machine have it, then CPU."""
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    return [provider for provider in wanted if provider in onnxruntime.get_available_providers()]


def _largest_batch(inputs: tuple[TensorSpec, ...], limit: int) -> int:
    """`limit`, or 1 where an input's first dimension is fixed: such a model takes each request alone."""
    return limit if all(spec.shape and isinstance(spec.shape[0], str) for spec in inputs) else 1


def _zeros(inputs: tuple[TensorSpec, ...], batch: int) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    for spec in inputs:
        sizes = [size if isinstance(size, int) else 1 for size in spec.shape]
        if spec.shape and isinstance(spec.shape[0], str):
            sizes[0] = batch
        dtype = DTYPES[spec.datatype]
        feeds[spec.name] = np.full(sizes, b"", dtype) if spec.datatype == "BYTES" else np.zeros(sizes, dtype)
    return feeds
