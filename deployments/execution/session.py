"""One ONNX Runtime session: the artifact's model, ready to predict."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime

from deployments.batching.pace import Pace
from deployments.batching.padding import padding_for
from deployments.execution.prepack import packed
from deployments.execution.rows import LENGTH, ones, why_not_by_rows
from deployments.oip.elements import as_text, run_bfloat16
from deployments.oip.tensors import Array
from optimization.artifact.manifest import TensorSpec
from optimization.artifact.session import CPU, GPU, serving_options
from optimization.artifact.store import Artifact, ArtifactError

logger = logging.getLogger(__name__)

QUICK_S = 0.0005
"""Handing a batch to a thread and back costs up to this much while the event loop is busy."""
GAIN = 1.05
"""A batch of twice the size must answer at least so many times the samples per second to be worth its latency."""
WARM_UP_S = 1.0
"""Longest a batch is tried while warming up: larger ones would take longer."""

Accelerator = Literal["auto", "cpu", "gpu"]


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
        accelerator: Accelerator = "cpu",
    ) -> None:
        """`accelerator` is `gpu` where it must be one, `auto` where the CPU will do if there is none.

        Raises:
            ArtifactError: the artifact's graphs cannot be run, or not on the GPU that is demanded.
        """
        manifest, model = artifact.manifest, artifact.model_path
        options = serving_options(num_threads)
        session = _on_gpu(model, options, accelerator) if accelerator != "cpu" else None
        self._on_gpu = session is not None
        self._session = session or _on_cpu(packed(artifact, cache) if cache else None, model, options)
        self._outputs = [spec.name for spec in manifest.outputs]
        tensors = (*manifest.inputs, *manifest.outputs)
        self._has_bfloat16 = any(spec.datatype == "BF16" for spec in tensors)
        if self._has_bfloat16 and any(spec.datatype == "BYTES" for spec in tensors):
            raise ArtifactError(
                "the model has BF16 and BYTES tensors, which ONNX Runtime's Python does not run together"
            )
        self._has_text = any(spec.datatype == "BYTES" for spec in manifest.inputs)
        self.pace = Pace()
        """How long a batch takes, from warming up."""
        uneven = why_not_by_rows(self.run, manifest.inputs, manifest.outputs)
        if uneven:
            logger.warning("model %s answers one request a call: %s", manifest.name, uneven)
        self.is_batched = not uneven
        """Whether it answers row by row, so that requests may share a call."""
        padding = padding_for(manifest.inputs, manifest.outputs)
        self.max_batch_size = self._warm_up(
            manifest.inputs, max_batch_size if self.is_batched else 1, LENGTH if padding else 1
        )
        """The largest batch that pays: at most what was asked for, 1 where requests share no call."""
        self.is_quick = self.pace.duration_s(self.max_batch_size * (LENGTH if padding else 1)) < QUICK_S
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

    def _warm_up(self, inputs: Sequence[TensorSpec], limit: int, length: int) -> int:
        """Run batches of 1, 2, 4, ... until larger ones answer no more samples per second; the last that did."""
        best, rate, size = 1, 0.0, 1
        while True:
            duration_s = self._seconds(ones(inputs, size))
            self.pace.learn(size * length, duration_s)
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


def _on_gpu(
    model: Path, options: onnxruntime.SessionOptions, accelerator: Accelerator
) -> onnxruntime.InferenceSession | None:
    """A session on this node's GPU; none where that does not work and need not.

    Raises:
        ArtifactError: it does not work, and `accelerator` demands it.
    """
    # ONNX Runtime goes on without a provider that does not load, such as for a missing library of CUDA.
    providers = [provider for provider in GPU if provider in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(model, options, providers=[*providers, CPU])
    if set(GPU) & set(session.get_providers()):
        return session
    reason = f"{' and '.join(providers)} did not load" if providers else "this build of ONNX Runtime has no CUDA"
    if accelerator == "gpu":
        raise ArtifactError(f"accelerator must be auto or cpu on this node, got gpu: {reason} (see ONNX Runtime's log)")
    logger.warning("%s runs on the CPU of this node, not on a GPU: %s", model.parent, reason)
    return None


def _on_cpu(shared: Path | None, model: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    if shared:  # it is optimised already
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(shared or model, options, providers=[CPU])
