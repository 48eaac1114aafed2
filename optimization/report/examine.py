"""Finds out what a report shows: who is right where another is wrong, what is taken for what, where zeros are."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from optimization.artifact.findings import Difference, Layer, Speedup
from optimization.measuring import judging, paired
from optimization.measuring.judging import Judged
from optimization.measuring.latency import Latency
from optimization.measuring.paired import Pairs

MAX_CLASSES = 200
"""With more classes than this their confusions are not kept: the table grows with their square."""


def difference(judged: Mapping[str, Judged], *, reference: str, other: str) -> Difference:
    """What step `other` loses against `reference`; `judged` is by step, on the same examples."""
    found = judging.compare(judged[reference], judged[other])
    low, high = paired.interval(found)
    counted = found if isinstance(found, Pairs) else None
    return Difference(
        reference=reference,
        other=other,
        num_lost=None if counted is None else counted.num_lost,
        num_won=None if counted is None else counted.num_won,
        num_samples=found.num_samples,
        drop=found.drop,
        low=low,
        high=high,
        is_share=judged[reference].measure.is_share,
    )


def differences(judged: Mapping[str, Judged]) -> tuple[Difference, ...]:
    """The last step against the teacher and the step before it, the student against the control."""
    steps = list(judged)
    pairs = _pairs(steps, ("teacher", steps[-1]), ("control", "distill"), tuple(steps[-2:]))
    return tuple(difference(judged, reference=one, other=other) for one, other in pairs)


def speedups(timed: Mapping[str, Mapping[int, Latency]]) -> tuple[Speedup, ...]:
    """The last step against the teacher and the step before it, at each batch size; `timed` is by step."""
    steps = list(timed)
    found = []
    for reference, other in _pairs(steps, ("teacher", steps[-1]), tuple(steps[-2:])):
        for size, after in timed[other].items():
            ratio = timed[reference][size].speedup(after)
            about = {"reference": reference, "other": other, "batch_size": size}
            found.append(Speedup(**about, value=ratio.value, low=ratio.low, high=ratio.high))
    return tuple(found)


def _pairs(steps: Sequence[str], *wanted: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The pairs whose two steps were both taken, each once."""
    return list(dict.fromkeys(pair for pair in wanted if len(set(pair)) == 2 and set(pair) <= set(steps)))


def confusion(classes: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int) -> tuple[tuple[int, ...], ...]:
    """Examples by class (row) and by predicted class (column); nothing where there are too many or none."""
    if num_classes > MAX_CLASSES or not len(labels):
        return ()
    counts = np.bincount(labels * num_classes + classes, minlength=num_classes**2)
    return tuple(map(tuple, counts.reshape(num_classes, num_classes).tolist()))


def layers(model: onnx.ModelProto, sensitivity: Mapping[str, float]) -> tuple[Layer, ...]:
    """The weights of more than one dimension, in the order of the file; `sensitivity` is by the weight's fp32 name."""
    weights = [(each.name, numpy_helper.to_array(each)) for each in model.graph.initializer if len(each.dims) > 1]
    return tuple(
        Layer(
            name=name,
            shape=weight.shape,
            datatype=str(weight.dtype).upper(),
            sparsity=1 - int(np.count_nonzero(weight)) / weight.size,
            sensitivity=sensitivity.get(name.removesuffix("_quantized")),
        )
        for name, weight in weights
        if weight.size
    )
