"""Static INT8 quantization in ONNX Runtime's QDQ form: activations unsigned, weights signed and per channel."""

import logging
import platform
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

_OPERATORS = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu", "Reshape", "Flatten"]
"""The standardization before the first layer and the softmax after the last stay in fp32: they cost nothing."""


def quantize(source: Path, target: Path, inputs: NDArray[np.float32], input_name: str) -> None:
    """Write the model `source` in INT8 to `target`; `inputs`, of shape [samples, features], set the ranges.

    Weights are signed and activations unsigned because x86 multiplies only such pairs in one instruction: with both
    signed, ONNX Runtime is slower than in fp32.
    """
    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    with TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Reader(inputs, input_name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            reduce_range=not has_vnni(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def has_vnni() -> bool:
    """Whether this CPU adds 8-bit products without saturating; else weights must keep to seven bits.

    Without VNNI the sums of two products overflow 16 bits. Other architectures than x86 have no such limit.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False  # the safe answer
    return "avx512_vnni" in flags or "avx_vnni" in flags


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    """Feeds ONNX Runtime's calibration in batches."""

    def __init__(self, inputs: NDArray[np.float32], name: str) -> None:
        self._batches: Iterator[NDArray[np.float32]] = iter(np.array_split(inputs, len(inputs) // 64 + 1))
        self._name = name

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch, or none."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}
