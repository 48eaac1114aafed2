"""Checks what is about to be published as it will be served; where it does not give what was measured, it is not.

    staged folder ─▶ a fresh process (artifact/trial_run.py) ─▶ answers ─▶ files? outputs? raw input? quality?

A model that came ready (`verify_again`) is asked the same twice, here and there.

Equal batches, on the machine that measured, by the same kernels: outputs differ by rounding alone, some 1e-7, unless
a file, the preprocessing or the provider is another one. `TOLERANCE` is that of the export's own check; GPUs multiply
in TF32 or FP16, so `GPU_TOLERANCE` is theirs.
"""

import io
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from optimization.artifact import session, trial_run
from optimization.artifact.manifest import Manifest, PicturePreprocessing, Preprocessing, TextPreprocessing
from optimization.artifact.raw.prepare import Array
from optimization.artifact.store import MODEL, Artifact
from optimization.errors import VerifyError
from optimization.readers.examples import Inputs, Split, joined

TOLERANCE, GPU_TOLERANCE = 1e-4, 1e-2
"""How far outputs may be from what was measured: absolutely, and where they are larger than 1, as a share of them."""
AT_ONCE = 256
_NUM_RAW = 1024
"""Examples, at most, whose raw form is tried too."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of a model, in the order of the held-out examples."""

    model_sha256: str
    """Of the file that was measured."""
    outputs: Array
    """Its first output, or what it emits where it answers step by step, as `read` gives it."""
    read: Callable[[Array], Array]
    right: Callable[[Array], NDArray[np.bool_]]
    """Which examples those outputs answer rightly."""
    at_once: int = AT_ONCE
    """Examples in each batch that was measured."""


def verify(artifact: Artifact, held_out: Split, measured: Measured) -> None:
    """Run the staged artifact in a fresh process, by every provider that serving would use here.

    Raises:
        VerifyError: something is not as it was measured; the message says which check failed, and of what.
    """
    name, manifest = _name(artifact), artifact.manifest
    _expect_file(artifact, measured.model_sha256)
    batches = list(held_out.batches(measured.at_once))
    rows = np.concatenate([numbers for numbers, _ in batches])
    kind, feeds = trial_run.TENSORS, [batch for _, batch in batches]
    if manifest.stream is not None:
        kind, feeds = trial_run.STEPS, [{**each, **_starts(manifest, each)} for each in feeds]
    wanted = batches[: -(-_NUM_RAW // measured.at_once)]
    raw = list(_raw(held_out, [numbers for numbers, _ in wanted], manifest.preprocessing))
    for provider, answers in _answered(artifact, _cases(kind, feeds, raw)):
        by_tensors, by_raw = (
            [values for key, values in answers.items() if key.startswith(each)] for each in (kind, trial_run.RAW)
        )
        outputs = measured.read(joined(by_tensors))
        _expect_alike(name, f"outputs by {provider}", outputs, measured.outputs[rows], provider)
        if by_raw:
            prepared, same = (measured.read(joined(each)) for each in (by_raw, by_tensors[: len(by_raw)]))
            _expect_alike(name, f"raw input by {provider}", prepared, same, provider)
        ordered = np.empty_like(outputs)
        ordered[rows] = outputs
        num, expected = int(measured.right(ordered).sum()), int(measured.right(measured.outputs).sum())
        if provider == session.CPU and num != expected:
            rule = f"{expected} of {len(rows)} held-out examples must be answered rightly"
            raise VerifyError(_failed(name, f"quality by {provider}", rule, str(num)))


def verify_again(artifact: Artifact, model_sha256: str, asked: Sequence[Inputs], answers: Sequence[Array]) -> None:
    """The same of a model that nobody has data of: it must give for what was `asked` the `answers` it gave before.

    Raises:
        VerifyError: it does not.
    """
    _expect_file(artifact, model_sha256)
    for provider, found in _answered(artifact, _cases(trial_run.TENSORS, asked)):
        for again, before in zip(found.values(), answers, strict=True):
            _expect_alike(_name(artifact), f"outputs by {provider}", again, before, provider)


def _name(artifact: Artifact) -> str:
    return f"{artifact.manifest.name} {artifact.manifest.version}"


def _expect_file(artifact: Artifact, model_sha256: str) -> None:
    found = artifact.manifest.files[MODEL].sha256
    if found != model_sha256:
        raise VerifyError(_failed(_name(artifact), "files", f"{MODEL} must be the file that was measured", found))


def _starts(manifest: Manifest, feeds: Inputs) -> Inputs:
    """What is carried before the first step: zeros, and of a dynamic dimension, such as what was written, nothing."""
    assert manifest.stream is not None, "asked of what answers step by step"
    num = len(next(iter(feeds.values())))
    return {
        spec.name: np.zeros((num, *(each if isinstance(each, int) else 0 for each in spec.shape[1:])), kind)
        for spec in manifest.inputs
        if spec.name in manifest.stream.carry.values()
        for kind in [feeds[spec.name].dtype]
    }


def _cases(kind: str, feeds: Sequence[Inputs], raw: Sequence[list[bytes]] = ()) -> dict[str, Array]:
    """What the fresh process reads."""
    cases = {f"{kind} {number} {key}": values for number, each in enumerate(feeds) for key, values in each.items()}
    for number, elements in enumerate(raw):
        cases[f"{trial_run.RAW} ends {number}"] = np.cumsum([len(each) for each in elements])
        cases[f"{trial_run.RAW} bytes {number}"] = np.frombuffer(b"".join(elements), np.uint8)
    return cases


def _providers() -> list[str]:
    """Those that a replica on this machine may run the model by."""
    known = onnxruntime.get_available_providers()
    return [session.CPU, *(each for each in session.GPU if each in known)]


def _answered(artifact: Artifact, cases: Mapping[str, Array]) -> Iterator[tuple[str, dict[str, Array]]]:
    """What a fresh process gives, by each provider."""
    paths = os.pathsep.join(path for path in sys.path if path)
    with TemporaryDirectory(prefix="trimtab-verify-") as folder:
        asked, answers = Path(folder) / "cases.npz", Path(folder) / "answers.npz"
        np.savez(asked, allow_pickle=False, **cases)
        for provider in _providers():
            command = [sys.executable, "-m", trial_run.__name__, *map(str, (artifact.path, asked, answers)), provider]
            ended = subprocess.run(
                command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
            )
            if ended.returncode:
                reason = ended.stderr.strip().rpartition("\n")[2] or f"it ended with code {ended.returncode}"
                rule = "it must load and run in a fresh process"
                raise VerifyError(_failed(_name(artifact), f"loading by {provider}", rule, reason))
            with np.load(answers, allow_pickle=False) as arrays:
                yield provider, dict(arrays)


def _expect_alike(name: str, check: str, found: Array, expected: Array, provider: str) -> None:
    limit = TOLERANCE if provider == session.CPU else GPU_TOLERANCE
    is_exact = found.dtype.kind != "f" and provider == session.CPU
    difference = apart(found, expected)
    if not difference <= (0 if is_exact else limit):
        rule = f"outputs must be those that were measured{'' if is_exact else f', to {limit:g}'}"
        raise VerifyError(_failed(name, check, rule, f"a difference of {difference:.3g}"))


def apart(found: Array, expected: Array) -> float:
    """How far numbers are apart at most, where they are larger than 1 as a share; of words, how many are others."""
    if found.shape != expected.shape:
        return math.inf
    if not found.size:
        return 0.0
    if found.dtype.kind != "f":
        return float((found != expected).mean())
    is_same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        return float(np.where(is_same, 0, np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())


def _failed(name: str, check: str, rule: str, got: str) -> str:
    return f"{name} is not published, since the check of {check} failed: {rule}, got {got}"


def _raw(split: Split, parts: Sequence[NDArray[np.int64]], how: Preprocessing | None) -> Iterator[list[bytes]]:
    """The raw form of those parts of the examples; nothing where it is not known."""
    match how:
        case TextPreprocessing() if split.texts is not None:
            yield from ([str(each).encode() for each in split.texts[rows]] for rows in parts)
        case PicturePreprocessing() if split.pixels:
            pictures = split.inputs[next(iter(split.pixels))]
            yield from ([_png(pictures[row], how.layout) for row in rows] for rows in parts)


def _png(pixels: NDArray[np.uint8], layout: str) -> bytes:
    """The picture, losslessly."""
    by_channel = pixels.transpose(1, 2, 0) if layout == "NCHW" else pixels
    file = io.BytesIO()
    Image.fromarray(by_channel[:, :, 0] if by_channel.shape[2] == 1 else by_channel).save(file, "PNG")
    return file.getvalue()
