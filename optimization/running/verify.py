"""Checks what is about to be published as it will be served; where it does not give what was measured, it is not.

    staged folder ─▶ a fresh process (artifact/trial_run.py) ─▶ answers ─▶ files? outputs? raw input? quality?

Equal batches, on the machine that measured, by the same kernels: outputs differ by rounding alone, some 1e-7, unless
a file, the preprocessing or the provider is another one. `TOLERANCE` is that of the export's own check; GPUs multiply
in TF32 or FP16, so `GPU_TOLERANCE` is theirs.
"""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from optimization.artifact import session, trial_run
from optimization.artifact.manifest import PicturePreprocessing, Preprocessing, TextPreprocessing
from optimization.artifact.store import MODEL, Artifact
from optimization.errors import VerifyError
from optimization.readers.examples import Split

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
    outputs: NDArray[np.float32]
    """Its first output, as `read` gives it."""
    read: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    right: Callable[[NDArray[np.float32]], NDArray[np.bool_]]
    """Which examples those outputs answer rightly."""


def verify(artifact: Artifact, held_out: Split, measured: Measured) -> None:
    """Run the staged artifact in a fresh process, by every provider that serving would use here.

    Raises:
        VerifyError: something is not as it was measured; the message says which check failed, and of what.
    """
    name = f"{artifact.manifest.name} {artifact.manifest.version}"
    found = artifact.manifest.files[MODEL].sha256
    if found != measured.model_sha256:
        raise VerifyError(_failed(name, "files", f"{MODEL} must be the file that was measured", found))
    batches = list(held_out.batches(AT_ONCE))
    rows = np.concatenate([numbers for numbers, _ in batches])
    with TemporaryDirectory(prefix="trimtab-verify-") as folder:
        cases = Path(folder) / "cases.npz"
        arrays = {
            f"{trial_run.TENSORS} {number} {key}": values
            for number, (_, batch) in enumerate(batches)
            for key, values in batch.items()
        }
        wanted = batches[: -(-_NUM_RAW // AT_ONCE)]
        raw = list(_raw(held_out, [numbers for numbers, _ in wanted], artifact.manifest.preprocessing))
        for number, elements in enumerate(raw):
            arrays[f"{trial_run.RAW} ends {number}"] = np.cumsum([len(each) for each in elements])
            arrays[f"{trial_run.RAW} bytes {number}"] = np.frombuffer(b"".join(elements), np.uint8)
        np.savez(cases, allow_pickle=False, **arrays)
        for provider in _providers():
            answers = _answered(name, artifact.path, cases, Path(folder) / "answers.npz", provider)
            by_tensors, by_raw = (
                [values for key, values in answers.items() if key.startswith(kind)]
                for kind in (trial_run.TENSORS, trial_run.RAW)
            )
            outputs = measured.read(np.concatenate(by_tensors))
            _expect_alike(name, f"outputs by {provider}", outputs, measured.outputs[rows], provider)
            if by_raw:
                prepared = measured.read(np.concatenate(by_raw))
                _expect_alike(name, f"raw input by {provider}", prepared, outputs[: len(prepared)], provider)
            ordered = np.empty_like(outputs)
            ordered[rows] = outputs
            num, expected = int(measured.right(ordered).sum()), int(measured.right(measured.outputs).sum())
            if provider == session.CPU and num != expected:
                rule = f"{expected} of {len(rows)} held-out examples must be answered rightly"
                raise VerifyError(_failed(name, f"quality by {provider}", rule, str(num)))


def _providers() -> list[str]:
    """Those that a replica on this machine may run the model by."""
    known = onnxruntime.get_available_providers()
    return [session.CPU, *(each for each in session.GPU if each in known)]


def _answered(name: str, folder: Path, cases: Path, answers: Path, provider: str) -> dict[str, NDArray[np.float32]]:
    command = [sys.executable, "-m", trial_run.__name__, *map(str, (folder, cases, answers)), provider]
    paths = os.pathsep.join(path for path in sys.path if path)
    ended = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        reason = ended.stderr.strip().rpartition("\n")[2] or f"it ended with code {ended.returncode}"
        raise VerifyError(_failed(name, f"loading by {provider}", "it must load and run in a fresh process", reason))
    with np.load(answers, allow_pickle=False) as arrays:
        return dict(arrays)


def _expect_alike(
    name: str, check: str, found: NDArray[np.float32], expected: NDArray[np.float32], provider: str
) -> None:
    limit = TOLERANCE if provider == session.CPU else GPU_TOLERANCE
    apart = float(np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected)))) if found.size else 0.0
    if not apart <= limit:
        rule = f"outputs must be those that were measured, to {limit:g}"
        raise VerifyError(_failed(name, check, rule, f"a difference of {apart:.3g}"))


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
