"""What torch's ONNX exporter keeps private and we use; a test says what broke when a release changes it."""

from functools import cache
from typing import Any

from torch.onnx._internal.exporter import _registration


def read_operators_once() -> None:
    """Let the exporter read its operators at the first export alone.

    It parses the sources of some 500 functions anew at each one, which is half of what a small model's export takes.
    """
    known: Any = _registration.onnxscript_apis  # type: ignore[attr-defined]
    if not hasattr(known.get_torchlib_ops, "cache_info"):
        known.get_torchlib_ops = cache(known.get_torchlib_ops)
