"""Raw input: text and encoded pictures become the model's tensors, beside the model and a batch at a time."""

from collections.abc import Callable, Mapping

from deployments.errors import RequestError
from deployments.oip.tensors import Array
from optimization.artifact.manifest import Manifest, TensorSpec
from optimization.artifact.raw.inputs import preparation
from optimization.artifact.raw.prepare import RawInputError
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

    def prepared(feeds: Mapping[str, Array]) -> dict[str, Array]:
        if raw.name not in feeds:
            return run(feeds)
        try:
            tensors = prepare(feeds[raw.name])
        except RawInputError as error:
            raise RequestError(str(error)) from error
        return run(tensors)

    return prepared
