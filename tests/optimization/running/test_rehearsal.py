"""What does not fit is told before anything is trained."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from optimization.errors import DataError, ExportError, OptimizationError, PruneError, RecipeError
from optimization.readers.examples import Dataset
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe
from optimization.report.phases import Phases
from optimization.running.rehearsal import rehearse
from optimization.running.run import run


class Lottery(nn.Module):
    """Computes what ONNX has no operator for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.layer(torch.special.i0e(pixels))
        return logits


CNN = {"kind": "cnn", "channels": [8, 8], "hidden": [16]}
ONCE = {"epochs": 1}


def wanted(student: dict[str, Any], *further: dict[str, Any], transfer: str | None = None) -> Recipe:
    distill = {"kind": "distill", "student": student, "training": ONCE}
    if transfer is not None:
        distill["transfer"] = [{"kind": transfer}]
    teacher = {"model": CNN, "training": ONCE}
    raw = {"name": "toy", "data": {"kind": "digits"}, "teacher": teacher, "steps": [distill, *further]}
    return recipe.parse(raw)


REFUSED = [
    (
        wanted({"kind": "mlp", "hidden": [8]}, transfer="features"),
        RecipeError,
        "distill.transfer.features needs stages of convolutions whose pictures have the same size in both, "
        "got a student that has none: leave it out",
    ),
    (
        wanted(CNN, {"kind": "prune", "ratio": 0.5, "recovery": ONCE | {"transfer": [{"kind": "hidden"}]}}),
        RecipeError,
        "prune.recovery.transfer.hidden needs a stack of layers",
    ),
    (
        wanted(CNN, {"kind": "quantize", "method": "qat", "training": ONCE | {"transfer": [{"kind": "attention"}]}}),
        RecipeError,
        "quantize.training.transfer.attention needs an attention",
    ),
    (
        wanted({"kind": "teacher_layers", "keep": [0]}),
        RecipeError,
        "distill.student.kind must not be teacher_layers: the teacher has no list of layers",
    ),
    (
        wanted({"kind": "torch", "name": "torch.nn:Linear", "kwargs": {"in_features": 64, "out_features": 9}}),
        DataError,
        "the model's logits for two samples must have shape [2, 10] for the data's 10 classes, got [2, 9]",
    ),
    (
        wanted({"kind": "torch", "name": "tests.optimization.running.test_rehearsal:Lottery"}),
        ExportError,
        "the model must be exportable to ONNX, got DispatchError: No ONNX function found for ",
    ),
    (
        wanted(CNN, {"kind": "prune", "heads": 0.5, "recovery": ONCE}),
        PruneError,
        "prune.heads needs attention with a projection each for queries, keys and values, got none",
    ),
    (
        wanted(CNN, {"kind": "prune", "layers": 0.5, "recovery": ONCE}),
        PruneError,
        "prune.layers needs a stack of equal layers that keep their input's shape, got none",
    ),
]


@pytest.mark.parametrize(("wanted", "error", "message"), REFUSED, ids=lambda each: getattr(each, "__name__", ""))
def test_what_cannot_be_built_or_paired_is_refused(
    wanted: Recipe, error: type[OptimizationError], message: str, digits: Dataset
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        rehearse(wanted, digits)


def test_what_fits_passes(digits: Dataset) -> None:
    recovery = ONCE | {"transfer": [{"kind": "pooled"}, {"kind": "features"}]}
    steps = [
        {"kind": "prune", "ratio": 0.5, "recovery": recovery},
        {"kind": "sparsify", "ratio": 0.5, "recovery": recovery},
        {"kind": "quantize", "method": "qat", "training": recovery},
    ]
    rehearse(wanted(CNN | {"channels": [4, 4]}, *steps, transfer="features"), digits)


def test_a_run_is_refused_before_it_trains(tmp_path: Path) -> None:
    said = StringIO()
    with Phases(Console(file=said)) as phases, pytest.raises(RecipeError, match="features needs"):
        run(REFUSED[0][0], tmp_path, phases)
    assert "build models" in said.getvalue()
    assert "workers" not in said.getvalue()
