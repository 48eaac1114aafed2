"""INT8 quantization in ONNX Runtime: activations unsigned, weights signed and per channel; and FP16 for GPUs.

    fp32 model ─▶ prepare: fold, calibrate ─▶ write: the nodes that may go to INT8 ─▶ INT8 model

Weights are signed and activations unsigned because x86 multiplies only such pairs in one instruction: with both signed,
ONNX Runtime is slower than in fp32.
"""

import contextlib
import io
import logging
import platform
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from optimization.artifact.findings import Kernel
from optimization.graphs import pools, simplify

Batch = Mapping[str, NDArray[Any]]
"""Inputs by the tensor's name."""
Method = Literal["static", "dynamic"]
Ranges = Literal["minmax", "percentile", "entropy"]

_WEIGHTED = ("Conv", "Gemm", "MatMul", "Gather")
"""Where the weights are: products, and the look-up of embeddings."""
_DYNAMIC = ("Gemm", "MatMul", "Gather")
"""Without ranges; ONNX Runtime's convolutions would be slower than in fp32."""
_POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool")
_BETWEEN = (*_POOLS, "Relu", "Clip", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
"""In convolutional networks, what hands 8-bit values on from one product to the next; all else stays in fp32."""
_FLOAT_OUTPUTS = {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]}
"""Rounding what an fp32 operator takes next, as GELU or softmax, costs quality and time: 20 % measured."""
_PERCENTILE = 99.99
_METHODS: dict[Ranges, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile": (CalibrationMethod.Percentile, {"percentile": _PERCENTILE, "symmetric": False}),
    "entropy": (CalibrationMethod.Entropy, {}),
}


KERNELS: dict[Kernel, QuantType] = {
    "signed": QuantType.QInt8,
    "signed_7_bits": QuantType.QInt8,
    "unsigned": QuantType.QUInt8,
}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An fp32 model with what folds into its weights folded, and the ranges of its activations."""

    path: Path
    ranges: Path | None
    """Ranges by tensor, as ONNX Runtime stores them; none where they are taken from each input as it comes."""
    method: CalibrationMethod
    kernel: Kernel = field(default_factory=lambda: "signed" if has_vnni() else "signed_7_bits")
    """How weights are held; what suits this processor as far as it names itself, where it is not measured."""

    @property
    def nodes(self) -> dict[str, str]:
        """The nodes that can go to INT8, in the graph's order, and the weight that each reads."""
        model = onnx.load(self.path)
        weights = {each.name for each in model.graph.initializer if len(each.dims) > 1}
        operators = _DYNAMIC if self.ranges is None else _WEIGHTED
        nodes = [node for node in model.graph.node if node.op_type in operators and weights.intersection(node.input)]
        return {node.name: next(name for name in node.input if name in weights) for node in nodes}


def quantize(
    source: Path, target: Path, batches: Iterable[Batch], *, method: Method = "static", ranges: Ranges = "minmax"
) -> None:
    """Write the model `source` in INT8 to `target`.

    With the method "static", `batches` set the activations' ranges once: all values ("minmax"), all but one in ten
    thousand ("percentile"), or those that change the distribution least ("entropy"). With "dynamic", the range is taken
    from each input as it comes, which suits transformers.
    """
    with TemporaryDirectory() as scratch:
        write(prepare(source, Path(scratch), batches, method=method, ranges=ranges), target)


def prepare(
    source: Path, folder: Path, batches: Iterable[Batch], *, method: Method, ranges: Ranges = "minmax"
) -> Prepared:
    """Fold what can be folded and calibrate; the files are kept in `folder`."""
    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    path = folder / "prepared.onnx"
    calibration, options = _METHODS[ranges]
    with _silent():
        quant_pre_process(source, path, skip_symbolic_shape=True)
        if method == "dynamic":
            return Prepared(path=path, ranges=None, method=calibration)
        model = onnx.load(path)
        pools.pool(model)
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            _static_operators(path),
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=calibration,
            extra_options=options,
        )
        for batch in batches:  # one at a time: their shapes may differ
            calibrator.collect_data(_Reader(batch))
        save_tensors_data(calibrator.compute_data(), folder / "ranges.json")
    return Prepared(path=path, ranges=folder / "ranges.json", method=calibration)


def write(prepared: Prepared, target: Path, *, keep: Collection[str] = (), only: Sequence[str] = ()) -> None:
    """Write the INT8 model to `target`; the nodes `keep` stay in fp32, or with `only` all others do."""
    common: dict[str, Any] = {
        "per_channel": True,
        "reduce_range": prepared.kernel == "signed_7_bits",
        "weight_type": KERNELS[prepared.kernel],
        "nodes_to_exclude": list(keep),
        "nodes_to_quantize": list(only),
        "extra_options": {"MatMulConstBOnly": True, "WeightSymmetric": True},
    }
    with _silent():
        if prepared.ranges is None:
            quantize_dynamic(prepared.path, target, op_types_to_quantize=list(_DYNAMIC), **common)
            simplify.drop_defaults(target)
            return
        quantize_static(
            prepared.path,
            target,
            None,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_static_operators(prepared.path),
            activation_type=QuantType.QUInt8,
            calibrate_method=prepared.method,
            calibration_cache_path=prepared.ranges,
            **common | {"extra_options": common["extra_options"] | _FLOAT_OUTPUTS},
        )
        simplify.drop_defaults(target)


def halve(source: Path, target: Path) -> None:
    """Write the model `source` in FP16 to `target`, for GPUs; inputs and outputs keep their types.

    On a CPU, ONNX Runtime converts back and forth, which is slower than fp32. BF16 it cannot run there at all: 1.32
    lacks such a MatMul, Gemm, Add and Softmax, so that a model could be neither measured here nor served without a GPU.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _silent():
        onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


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


def _static_operators(path: Path) -> list[str]:
    """In transformers masks of minus infinity pass through `_BETWEEN`, and have no range."""
    is_convolutional = any(node.op_type == "Conv" for node in onnx.load(path, load_external_data=False).graph.node)
    return [*_WEIGHTED, *_BETWEEN] if is_convolutional else [*_WEIGHTED, "Relu"]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """ONNX Runtime's tools print, and tell the root logger that they were called."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    """Feeds ONNX Runtime's calibration one batch."""

    def __init__(self, batch: Batch) -> None:
        self._batch: dict[str, NDArray[Any]] | None = {name: np.asarray(each) for name, each in batch.items()}

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The batch, then none."""
        batch, self._batch = self._batch, None
        return batch
