"""CIFAR-10: a published ResNet-56 made small.

Half of 5,000 pictures of the published test set decides, the other half reports: the published model has seen neither.
The student is its weights, cut and taught on.
"""

from functools import partial
from typing import Any

from benchmarks.figures.setting import RECIPES, Figures, Setting, follow, interval, load, measured, over_seeds

KEYS = ("cifar_retention", "cifar_speedup")

_FEW = 200
"""Held-out pictures of a quick run."""


def measure(setting: Setting) -> Figures:
    """Accuracy kept, and latency of one picture in fp32 over that of the small INT8 model."""
    return over_seeds(setting, partial(_measure, setting))


def _measure(setting: Setting, seed: int) -> Figures:
    changes = {"seed": seed} | (_changes(setting) if setting.quick else {})
    made = follow(load(RECIPES / "cifar10.yaml", changes, setting), setting)
    teacher, served = measured(made, "teacher"), made.manifest.measurements[-1]
    return {
        **interval(made, "teacher", "cifar_teacher"),
        **interval(made, "control", "cifar_control"),
        **interval(made, served.step, "cifar_student"),
        "cifar_retention": served.quality.value / teacher.quality.value,
        "cifar_control_retention": measured(made, "control").quality.value / teacher.quality.value,
        "cifar_speedup": teacher.latency_s[1] / served.latency_s[1],
        "cifar_speedup_batch_32": teacher.latency_s[32] / served.latency_s[32],
        "cifar_size": teacher.size_bytes / served.size_bytes,
    }


def _changes(setting: Setting) -> dict[str, Any]:
    """A few of the pictures."""
    test = setting.data / "cifar10/val5k.npz"
    few = {"data.validation": f"{test}[:{_FEW}]", "data.held_out": f"{test}[{5000 - _FEW}:]"}
    return {"data.share": 0.02, **few, "steps.0.layers": 0.1, "steps.0.stages": 1, "steps.1.max_changed": 1.0}
