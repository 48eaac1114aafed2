"""Runs an artifact as it will be served, in a process that knows nothing of how it was made.

    python -m optimization.artifact.trial_run FOLDER CASES.npz ANSWERS.npz [PROVIDER]

    FOLDER: manifest checked, every file's digest checked ─▶ session as in serving ─┐
    CASES:  batches of tensors, and of raw input where there is some ───────────────┴▶ ANSWERS: the first output of each

Raw input goes through the artifact's own preprocessing. A model that answers step by step is driven to its end where
the cases are to be: its answer is what it emits. Nothing here imports torch: it takes about a second.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from optimization.artifact import session, steps, store
from optimization.artifact.raw.inputs import preparation
from optimization.artifact.raw.prepare import Array, RawInputError
from optimization.artifact.store import ArtifactError

TENSORS, STEPS, RAW = "tensors", "steps", "raw"
"""Begin the names of cases and of their answers; a number and, of tensors, the input's name follow."""


def main(folder: Path, cases: Path, answers: Path, provider: str = session.CPU) -> None:
    """Answer every case, in its order.

    Raises:
        ArtifactError: a file is not what the manifest says, or the graph cannot be run by the provider.
        RawInputError: the preprocessing does not take the raw input.
    """
    artifact = store.load(folder)
    options = session.serving_options(num_threads=1)
    opened = onnxruntime.InferenceSession(artifact.model_path, options, providers=[provider])
    if opened.get_providers()[0] != provider:
        raise ArtifactError(f"the model must run by {provider}, got {opened.get_providers()[0]}")
    output = artifact.manifest.outputs[0].name
    prepare = preparation(artifact.manifest, artifact.path, num_threads=1)
    found = {}
    with np.load(cases, allow_pickle=False) as arrays:
        for number, feeds in enumerate(tensors(arrays, TENSORS)):
            found[f"{TENSORS} {number}"] = storable(opened.run([output], feeds)[0])
        for number, feeds in enumerate(tensors(arrays, STEPS)):
            if artifact.manifest.stream is None:
                raise ArtifactError("the manifest must say how the model is driven step by step, got nothing")
            found[f"{STEPS} {number}"] = steps.drive(opened, artifact.manifest.stream, feeds)
        for number, elements in enumerate(raw(arrays)):
            if prepare is None:
                raise ArtifactError("the manifest must say how raw input is prepared, got none")
            found[f"{RAW} {number}"] = opened.run([output], prepare(elements))[0]
    np.savez(answers, allow_pickle=False, **found)


def storable(output: Array) -> Array:
    """The output as numpy stores it: ONNX Runtime gives texts as Python's objects."""
    return output.astype(np.str_) if output.dtype == object else output


def tensors(arrays: Mapping[str, Array], wanted: str) -> Iterator[dict[str, Array]]:
    """The batches of tensors of that kind."""
    named: dict[int, dict[str, Array]] = {}
    for name in arrays:
        kind, number, *rest = name.split(" ", 2)
        if kind == wanted:
            named.setdefault(int(number), {})[rest[0]] = arrays[name]
    yield from (named[number] for number in sorted(named))


def raw(arrays: Mapping[str, Array]) -> Iterator[Array]:
    """The batches of BYTES elements, each stored as its bytes and where they end."""
    for number in range(sum(name.startswith(f"{RAW} ends ") for name in arrays)):
        ends, content = arrays[f"{RAW} ends {number}"].tolist(), arrays[f"{RAW} bytes {number}"].tobytes()
        elements = np.empty(len(ends), object)
        elements[:] = [content[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        yield elements


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
    except (ArtifactError, RawInputError) as error:
        sys.exit(str(error))
