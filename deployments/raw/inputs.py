"""Raw input: text and encoded pictures become the model's tensors, beside the model and a batch at a time."""

import time
from collections.abc import Callable, Mapping

from deployments.errors import RequestError
from deployments.oip.tensors import Array
from optimization.artifact.manifest import Manifest, TensorSpec
from optimization.artifact.raw.inputs import preparation
from optimization.artifact.raw.prepare import Prepare, RawInputError
from optimization.artifact.store import Artifact


def raw_input(manifest: Manifest) -> TensorSpec | None:
    """The tensor that a request may carry in place of the model's own, or none."""
    preprocessing = manifest.preprocessing
    if preprocessing is None:
        return None
    return TensorSpec(name=preprocessing.input, datatype="BYTES", shape=("batch",))


def accepting_raw(
    artifact: Artifact, run: Callable[[Mapping[str, Array]], dict[str, Array]], num_threads: int
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """`run`, taking raw input too where the artifact says how; what cannot be prepared raises `RequestError`."""
    raw, prepare = raw_input(artifact.manifest), preparation(artifact.manifest, artifact.path, num_threads)
    if raw is None or prepare is None:
        return run
    return RawRun(raw.name, prepare, run)


class RawRun:
    """Prepares what is raw, then runs the model."""

    def __init__(self, raw: str, prepare: Prepare, run: Callable[[Mapping[str, Array]], dict[str, Array]]) -> None:
        self.raw_s = 0.0
        """Seconds that the last call took to prepare its input."""
        self._raw = raw
        self._prepare = prepare
        self._run = run

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The model's outputs.

        Raises:
            RequestError: the raw input cannot be prepared.
        """
        self.raw_s = 0.0
        if self._raw not in feeds:
            return self._run(feeds)
        began_s = time.perf_counter()
        try:
            tensors = self._prepare(feeds[self._raw])
        except RawInputError as error:
            raise RequestError(str(error)) from error
        self.raw_s = time.perf_counter() - began_s
        return self._run(tensors)
