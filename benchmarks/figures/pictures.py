"""CIFAR-10: a published ResNet-56 made small.

The published model has seen all 50,000 training pictures, the held-out ones here among them, and gets every one of
those right; a student that has never seen them is measured against that, not against the test set's 93.39 %.
"""

from typing import Any

import numpy as np

from benchmarks.figures.setting import RECIPES, Figures, Setting, follow, load, measured

KEYS = ("cifar_retention", "cifar_speedup")

_FEW = 200
"""Held-out pictures of a quick run."""


def measure(setting: Setting) -> Figures:
    """Accuracy kept, and latency of one picture in fp32 over that of the small INT8 model."""
    made = follow(load(RECIPES / "cifar10.yaml", _changes(setting) if setting.quick else {}, setting), setting)
    teacher, served = measured(made, "teacher"), made.manifest.measurements[-1]
    return {
        "cifar_retention": served.quality.value / teacher.quality.value,
        "cifar_control_retention": measured(made, "control").quality.value / teacher.quality.value,
        "cifar_speedup": teacher.latency_s[1] / served.latency_s[1],
        "cifar_speedup_batch_32": teacher.latency_s[32] / served.latency_s[32],
        "cifar_size": teacher.size_bytes / served.size_bytes,
    }


def _changes(setting: Setting) -> dict[str, Any]:
    """A few of the pictures."""
    setting.results.mkdir(parents=True, exist_ok=True)
    held_out = setting.results / "cifar10-dev.npz"
    every = np.load(setting.data / "cifar10/dev2k.npz")
    np.savez(held_out, **{name: every[name][:_FEW] for name in every.files})
    fewer = {"steps.0.layers": 0.1, "steps.0.stages": 1, "steps.1.max_changed": 1.0}
    return {"data.share": 0.02, "data.held_out": str(held_out.absolute()), **fewer}
