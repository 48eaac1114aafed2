"""One ONNX Runtime session: a graph of an artifact, tensors in, tensors out."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime

from deployments.execution.prepack import packed
from deployments.oip.elements import as_text, run_bfloat16
from deployments.oip.tensors import Array
from optimization.artifact.manifest import Part
from optimization.artifact.session import CPU, GPU, serving_options
from optimization.artifact.store import Artifact, ArtifactError

logger = logging.getLogger(__name__)

Accelerator = Literal["auto", "cpu", "gpu"]


class GraphSession:
    """A graph of an artifact, loaded. `run` may be called from any thread."""

    def __init__(
        self, artifact: Artifact, part: Part, *, num_threads: int, cache: Path | None, accelerator: Accelerator
    ) -> None:
        """`accelerator` is `gpu` where it must be one, `auto` where the CPU will do if there is none.

        Raises:
            ArtifactError: the graph cannot be run, or not on the GPU that is demanded.
        """
        options, model = serving_options(num_threads), artifact.path / part.file
        session = _on_gpu(model, options, accelerator) if accelerator != "cpu" else None
        self.is_on_gpu = session is not None
        """Whether it runs there, and not on the CPU."""
        self._session = session or _on_cpu(packed(artifact, part, cache) if cache else None, model, options)
        self.inputs = tuple(spec.name for spec in part.inputs)
        self._outputs = [spec.name for spec in part.outputs]
        tensors = (*part.inputs, *part.outputs)
        self._has_bfloat16 = any(spec.datatype == "BF16" for spec in tensors)
        if self._has_bfloat16 and any(spec.datatype == "BYTES" for spec in tensors):
            raise ArtifactError(
                "the model has BF16 and BYTES tensors, which ONNX Runtime's Python does not run together"
            )
        self._has_text = any(spec.datatype == "BYTES" for spec in part.inputs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name.

        Raises:
            RequestError: an input that is text is not UTF-8.
        """
        if self._has_text:
            feeds = {name: as_text(name, array) if array.dtype == object else array for name, array in feeds.items()}
        if self._has_bfloat16:
            return dict(zip(self._outputs, run_bfloat16(self._session, self._outputs, feeds), strict=True))
        if self.is_on_gpu:
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
