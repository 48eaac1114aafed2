"""One ONNX Runtime session: the artifact's model, ready to predict."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from deployments.batching.pace import Pace
from deployments.batching.padding import MASK
from deployments.execution.prepack import packed
from deployments.oip.elements import as_text, run_bfloat16
from deployments.oip.tensors import DTYPES, Array
from optimization.artifact.manifest import TensorSpec
from optimization.artifact.store import Artifact, ArtifactError

QUICK_S = 0.0005
"""Handing a batch to a thread and back costs up to this much while the event loop is busy."""
GAIN = 1.05
"""A batch of twice the size must answer at least so many times the samples per second to be worth its latency."""
WARM_UP_S = 1.0
"""Longest a batch is tried while warming up: larger ones would take longer."""

CPU = "CPUExecutionProvider"
_PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU)


class Session:
    """The model of an artifact, loaded and warm. `run` may be called from any thread.

    With `cache`, its weights are mapped from a file that all sessions of this node share; on a GPU they lie there.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        num_threads: int,
        max_batch_size: int,
        cache: Path | None = None,
        use_gpu: bool = False,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # Threads that spin for work take CPU from the other replicas of the node.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = _PROVIDERS if use_gpu else (CPU,)
        providers = [provider for provider in wanted if provider in onnxruntime.get_available_providers()]
        shared = packed(artifact, cache) if cache and providers == [CPU] else None
        if shared:  # it is optimised already
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(shared or artifact.model_path, options, providers=providers)
        self._on_gpu = providers != [CPU]
        self._outputs = [spec.name for spec in artifact.manifest.outputs]
        tensors = (*artifact.manifest.inputs, *artifact.manifest.outputs)
        self._has_bfloat16 = any(spec.datatype == "BF16" for spec in tensors)
        if self._has_bfloat16 and any(spec.datatype == "BYTES" for spec in tensors):
            raise ArtifactError(
                "the model has BF16 and BYTES tensors, which ONNX Runtime's Python does not run together"
            )
        self._has_text = any(spec.datatype == "BYTES" for spec in artifact.manifest.inputs)
        self.pace = Pace()
        """How long a batch takes, from warming up."""
        self.max_batch_size = self._warm_up(artifact.manifest.inputs, max_batch_size)
        """The largest batch that pays: at most what was asked for, 1 where an input's first dimension is fixed."""
        self.is_quick = self.pace.duration_s(self.max_batch_size) < QUICK_S
        """Whether even the largest batch takes so little that it may run in the event loop."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name.

        Raises:
            RequestError: an input that is text is not UTF-8.
        """
        if self._has_text:
            feeds = {name: as_text(name, array) if array.dtype == object else array for name, array in feeds.items()}
        if self._has_bfloat16:
            return dict(zip(self._outputs, run_bfloat16(self._session, self._outputs, feeds), strict=True))
        if self._on_gpu:
            return self._run_bound(feeds)
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))

    def _run_bound(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The same through bound buffers, so that what lies on the GPU is copied once each way."""
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name in self._outputs:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        return dict(zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True))

    def _warm_up(self, inputs: Sequence[TensorSpec], limit: int) -> int:
        """Run batches of 1, 2, 4, ... until larger ones answer no more samples per second; the last that did."""
        if not all(spec.shape and isinstance(spec.shape[0], str) for spec in inputs):
            limit = 1
        best, rate, size = 1, 0.0, 1
        while True:
            duration_s = self._seconds(_ones(inputs, size))
            self.pace.learn(size, duration_s)
            # A quick model gains by fewer calls, whatever the clock says.
            if duration_s < QUICK_S or size / duration_s > GAIN * rate:
                best, rate = size, max(rate, size / duration_s)
            if size == limit or size == 4 * best or 2 * duration_s > WARM_UP_S:
                return best
            size = min(2 * size, limit)

    def _seconds(self, feeds: Mapping[str, Array]) -> float:
        """How long the model takes for `feeds` once warm: the best of a few."""
        self.run(feeds)
        durations: list[float] = []
        while len(durations) < 5 and sum(durations) < WARM_UP_S / 10:
            began = time.perf_counter()
            self.run(feeds)
            durations.append(time.perf_counter() - began)
        return min(durations)


def _ones(inputs: Sequence[TensorSpec], batch: int) -> dict[str, Array]:
    """A batch to warm up with; ones, lest an attention mask hides everything, and of some length where there is one."""
    length = 16 if any(spec.name == MASK for spec in inputs) else 1
    feeds: dict[str, Array] = {}
    for spec in inputs:
        sizes = [size if isinstance(size, int) else length for size in spec.shape]
        if spec.shape and isinstance(spec.shape[0], str):
            sizes[0] = batch
        dtype = DTYPES[spec.datatype]
        feeds[spec.name] = np.full(sizes, b"1", dtype) if spec.datatype == "BYTES" else np.ones(sizes, dtype)
    return feeds
