"""Publishes a model that came from elsewhere, so that it can be served as any other artifact.

file ─▶ made-up input ─▶ answers here ─▶ staged ─▶ the same answers in a fresh process? ─▶ published
"""

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from optimization.artifact import store, trial_run
from optimization.artifact.manifest import Meaning, Part, TensorSpec
from optimization.artifact.raw.prepare import Array
from optimization.errors import GraphError
from optimization.foreign import convert
from optimization.graphs import graph, outputs
from optimization.readers.examples import Inputs
from optimization.running import verify

_MASK, _LENGTH = "attention_mask", 16
"""Where there is such an input, other dimensions that vary are as long; else 1, as where serving warms up."""
_ROWS = (1, 3)


def adopt(
    path: Path, root: Path, name: str, stream: Path | None = None, output: Meaning | None = None
) -> store.Artifact:
    """Publish the ONNX file, Keras file or SavedModel `path` as the next version of `name`.

    `stream` is a YAML file that says how a model that answers step by step is driven (`manifest.Stream`).

    The graph tells what it gives; where it does not, `output` says so of the first output.

    Raises:
        GraphError: the file is damaged, cannot be converted or served, or does not end in what `output` says.
        VerifyError: loaded anew from disk, it does not give what it gave here.
        ArtifactError: the name breaks its rule, or `stream` does not fit the model.
    """
    with TemporaryDirectory(prefix="trimtab-") as folder:
        file, parity = convert.onnx_file(path, Path(folder))
        model = graph.read(file, is_one_file=False)
        first, *others = outputs.meanings(model)
        if output is not None and first not in (None, output):
            raise GraphError(f"--output must be {first}, as the graph of {path} ends, got {output}: leave it out")
        inputs, given = graph.inputs(model), graph.outputs(model, first or output, *others)
        beside = graph.weight_files(model)
        asked, answers = _tried(path, file, inputs)
        digest = store.sha256(file)
        return store.publish(
            root,
            {store.MODEL: file} | {each: file.parent / each for each in beside},
            check=partial(verify.verify_again, model_sha256=digest, asked=asked, answers=answers),
            name=name,
            inputs=inputs,
            outputs=given,
            parts=(Part(weights=beside, inputs=inputs, outputs=given),) if beside else (),
            parity=parity,
            stream=_yaml(stream) if stream else None,
            libraries={library: version(library) for library in ("onnx", "onnxruntime")},
        )


def _tried(path: Path, file: Path, inputs: Sequence[TensorSpec]) -> tuple[list[Inputs], list[Array]]:
    """Made-up batches that the file answers alike when asked twice, and its answers.

    Raises:
        GraphError: it does not answer a single row, so that serving could not warm up.
    """
    asked: list[Inputs] = []
    answers: list[Array] = []
    if any(spec.datatype == "BF16" for spec in inputs):
        return asked, answers  # numpy has no such numbers
    session = graph.session(file)
    for rows in _ROWS:
        batch = _made_up(inputs, rows)
        try:
            once, again = (trial_run.storable(graph.predict(session, batch)) for _ in range(2))
        except Exception as error:  # ONNX Runtime's errors share no base but this
            if rows == 1:
                shapes = ", ".join(f"{name} {list(each.shape)}" for name, each in batch.items())
                rule = "must answer one row of made-up input, as serving asks when it warms up"
                raise GraphError(f"{path} {rule}, got for {shapes}: {error}") from error
            continue
        if verify.apart(once, again) <= verify.TOLERANCE:  # else it draws at random
            asked.append(batch)
            answers.append(once)
    return asked, answers


def _made_up(inputs: Sequence[TensorSpec], rows: int) -> Inputs:
    """Numbers between 0 and 1, and ones, lest an attention mask hides everything."""
    random, length = np.random.default_rng(0), _LENGTH if any(spec.name == _MASK for spec in inputs) else 1
    made: Inputs = {}
    for spec in inputs:
        shape = [size if isinstance(size, int) else length for size in spec.shape]
        shape[0] = shape[0] if isinstance(spec.shape[0], int) else rows
        match spec.datatype:
            case "FP16" | "FP32" | "FP64":
                made[spec.name] = random.random(shape).astype(f"float{spec.datatype[2:]}")
            case "BYTES":
                made[spec.name] = np.full(shape, "1")
            case _:
                made[spec.name] = np.ones(shape, spec.datatype.lower())
    return made


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise store.ArtifactError(f"{path} is no YAML: {error}") from error
