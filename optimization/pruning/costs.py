"""What a layer of each stack costs: the time a call takes with some more layers of that stack and with few of any."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from optimization.graphs import export
from optimization.measuring import latency
from optimization.pruning import stacks
from optimization.quantization import quantize
from optimization.readers.examples import Split
from optimization.tasks.task import LabelledTask

_MORE = 4
"""Layers of one stack whose time is measured together."""
_BATCH_SIZE = 1
_FEW = 8
"""Samples to calibrate with: time does not depend on the ranges."""
_LEAST = 0.1
"""No layer costs less than this share of the dearest: noise may take all of a short time away."""


def of_layers(
    model: nn.Module,
    removable: Mapping[str, tuple[int, ...]],
    split: Split,
    *,
    task: LabelledTask,
    method: quantize.Method | None,
    folder: Path,
) -> dict[str, float]:
    """Seconds that a layer of each stack takes in ONNX Runtime, on one thread and one sample of `split`.

    That is in INT8 of this `method`, or in fp32 where there is none. Layers of one stack are taken to cost the same.
    Files are left in `folder`.
    """

    sizes = {name: len(list(model.get_submodule(name).children())) for name in removable}
    few = {name: int(len(indices) == sizes[name]) for name, indices in removable.items()}  # a stack keeps a layer
    more = {name: min(_MORE, len(indices) - few[name]) for name, indices in removable.items()}

    def short(longer: str | None) -> nn.Module:
        """The model with as few of the `removable` layers as can be, but with more of one stack."""
        kept = {name: few[name] + (more[name] if name == longer else 0) for name in removable}
        return stacks.without(model, {name: indices[kept[name] :] for name, indices in removable.items()})

    paths: dict[str | None, Path] = {}
    for number, longer in enumerate((None, *removable)):
        path = folder / f"short-{number}.onnx"
        export.export(short(longer), path, split, task=task)
        paths[longer] = path if method is None else path.with_suffix(".int8.onnx")
        if method is not None:
            quantize.quantize(path, paths[longer], [split.batch(np.arange(_FEW) % len(split))], method=method)
    timed = latency.measure({str(path): path for path in paths.values()}, split)
    taken = {longer: timed[str(path)][_BATCH_SIZE].median_s for longer, path in paths.items()}
    costs = {name: (taken[name] - taken[None]) / more[name] for name in removable}
    dearest = max(costs.values())
    return {name: max(cost, _LEAST * dearest) for name, cost in costs.items()}
