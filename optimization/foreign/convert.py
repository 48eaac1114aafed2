"""Makes an ONNX file of a Keras 3 file or a TensorFlow SavedModel, in a process of its own.

model.keras │ folder/saved_model.pb ─▶ python -m optimization.foreign ─▶ model.onnx, checked against the original

TensorFlow does not share a process well with torch and Ray, and Keras binds to a backend as it is imported.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from optimization.errors import GraphError

KERAS, SAVED_MODEL = ".keras", "saved_model.pb"
_ENVIRONMENT = {"KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}


def onnx_file(source: Path, folder: Path, names: Sequence[str] = ()) -> tuple[Path, float | None]:
    """The ONNX file of a model, and how far its outputs are from the original's; an ONNX file is left as it is.

    A converted file lies in `folder`; its inputs are called `names` where there is one of each.

    Raises:
        GraphError: there is no such file, its package is not installed, or it has what ONNX cannot express.
    """
    if source.suffix != KERAS and not source.is_dir():
        return source, None
    _expect(source)
    target = folder / "converted.onnx"
    done = subprocess.run(
        [sys.executable, "-m", __package__, str(source), str(target), *names],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"the conversion ended with code {done.returncode}"]
        raise GraphError(f"{source} cannot become an ONNX file: {lines[-1]}")
    return target, float(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
    """This process's, with Keras on torch, nothing on a GPU, and TensorFlow silent."""
    return os.environ | _ENVIRONMENT


def _expect(source: Path) -> None:
    if source.suffix == KERAS and not source.is_file():
        raise GraphError(f"{source} must be a file that Keras 3 saved, got {'a folder' if source.is_dir() else 'none'}")
    if source.is_dir() and not (source / SAVED_MODEL).is_file():
        raise GraphError(f"{source} must be an ONNX file, or the folder of a SavedModel, got one without {SAVED_MODEL}")
