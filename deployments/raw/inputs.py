"""Raw input: text and encoded pictures become the model's tensors, beside the model and a batch at a time."""

from collections.abc import Callable, Mapping

from deployments.oip.tensors import Array
from deployments.raw.pictures import pixels
from deployments.raw.prepare import Prepare
from deployments.raw.text import tokens
from optimization.artifact.manifest import PicturePreprocessing, Preprocessing, TensorSpec, TextPreprocessing
from optimization.artifact.store import Artifact


def raw_input(artifact: Artifact) -> TensorSpec | None:
    """The tensor that a request may carry in place of the model's own, or none."""
    preprocessing = artifact.manifest.preprocessing
    if preprocessing is None:
        return None
    return TensorSpec(name=preprocessing.input, datatype="BYTES", shape=("batch",))


def accepting_raw(
    artifact: Artifact, run: Callable[[Mapping[str, Array]], dict[str, Array]], num_threads: int
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """`run`, taking raw input too where the artifact says how."""
    preprocessing = artifact.manifest.preprocessing
    if preprocessing is None:
        return run
    name, prepare = preprocessing.input, _prepare(artifact, preprocessing, num_threads)

    def prepared(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return run(prepare(feeds[name]) if name in feeds else feeds)

    return prepared


def _prepare(artifact: Artifact, preprocessing: Preprocessing, num_threads: int) -> Prepare:
    names = [spec.name for spec in artifact.manifest.inputs]
    match preprocessing:
        case TextPreprocessing():
            return tokens(preprocessing, artifact.path / preprocessing.tokenizer, names)
        case PicturePreprocessing():
            return pixels(preprocessing, names[0], num_threads)
