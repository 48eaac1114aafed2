"""Fashion-MNIST (Xiao 2017, arXiv:1708.07747): weights that can go, and what soft targets give where labels are few.

The four idx files are Debian's package `dataset-fashion-mnist`.
"""

import gzip
from math import prod
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from benchmarks.figures.setting import Figures, Setting, follow, load, measured, points
from optimization.networks import models
from optimization.readers import data
from optimization.recipe.architectures import Cnn
from optimization.recipe.methods import Training
from optimization.recipe.sources import Pictures
from optimization.training.alone import Alone
from optimization.training.job import Job

KEYS = ("han12x_loss", "hinton3pct_gain")
_FOLDER = Path(__file__).parent
_SEEDS = (0, 1, 2)


def measure_pruned(setting: Setting) -> Figures:
    """Points that LeNet-300-100 loses with twelve times fewer weights (Han 2015, arXiv:1506.02626)."""
    made = follow(load(_FOLDER / "lenet.yaml", _data(setting, 1.0), setting), setting)
    teacher, pruned = measured(made, "teacher"), measured(made, "sparsify")
    zeros = sum(round(each.sparsity * prod(each.shape)) for each in made.manifest.findings.layers)
    left = pruned.num_parameters - zeros  # biases stay, and count
    return {
        "han12x_loss": points(made, "teacher") - 100 * pruned.quality.value,
        "han12x_times_fewer": teacher.num_parameters / left,
        "han12x_teacher": points(made, "teacher"),
        "han12x_control_loss": points(made, "teacher") - points(made, "control"),
    }


def measure_soft_targets(setting: Setting) -> Figures:
    """Points that a student gains from soft targets on 3 % of the data (Hinton 2015, arXiv:1503.02531, table 5).

    The teacher has seen all of the data: its outputs on the 3 % are what the student gets to know of the rest.
    """
    gains = []
    for seed in _SEEDS[: 1 if setting.quick else None]:
        changes = _data(setting, 0.03) | {"seed": seed, "teacher.model.weights": str(_teacher(setting))}
        made = follow(load(_FOLDER / "soft_targets.yaml", changes, setting), setting)
        gains.append(points(made, "distill") - points(made, "control"))
    return {
        "hinton3pct_gain": fmean(gains),
        "hinton3pct_worst_seed": min(gains),
        "hinton3pct_teacher": points(made, "teacher"),
        "hinton3pct_control": points(made, "control"),
    }


class _Unmetered:
    """Counts no step."""

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        """Does nothing."""


def _teacher(setting: Setting) -> Path:
    """Weights of the network that has seen all of the data, trained once."""
    path = (setting.results / "fashion-teacher.safetensors").absolute()
    if path.exists():
        return path
    raw = load(_FOLDER / "soft_targets.yaml", _data(setting, 1.0), setting)
    dataset = data.load(Pictures.model_validate(raw["data"]), raw["seed"])
    model = models.build(Cnn.model_validate(raw["teacher"]["model"]), dataset, raw["seed"])
    training = Training(epochs=1 if setting.quick else 2, batch_size=128, learning_rate=0.002)
    trainer = Alone(dataset.train, _Unmetered(), lambda _model: None)
    trained = trainer.train(
        Job(step="teacher", model=model, training=training, seed=raw["seed"]), lambda _epochs, _loss: None
    )
    assert isinstance(trained, nn.Sequential), "standardization, then the layers"
    weights = nn.Sequential(*list(trained)[1:]).state_dict()
    save_file({name: each.contiguous() for name, each in weights.items()}, path)
    return path


def _data(setting: Setting, share: float) -> dict[str, Any]:
    """Changes to a recipe: the pictures as .npz, made of the idx files once."""
    files = {}
    for name, stem in (("train", "train"), ("held_out", "t10k")):
        target = (setting.results / f"fashion-{stem}.npz").absolute()
        if not target.exists():
            pictures, labels = _read(setting.fashion, stem)
            target.parent.mkdir(parents=True, exist_ok=True)
            np.savez(target, x=pictures, y=labels)
        files[f"data.{name}"] = str(target)
    return files | {"data.share": share * (0.05 if setting.quick and share == 1 else 1)}


def _read(folder: Path, stem: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pictures, labels = (
        np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
        for path in (folder / f"{stem}-images-idx3-ubyte.gz", folder / f"{stem}-labels-idx1-ubyte.gz")
    )
    return pictures[16:].reshape(-1, 28, 28), labels[8:].astype(np.int64)
