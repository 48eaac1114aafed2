"""SST-2: MiniLM-L6 fine-tuned (Wang 2020, arXiv:2002.10957; Socher 2013), and a student of three of its six layers."""

from functools import partial
from typing import Any

from benchmarks.figures.setting import RECIPES, Figures, Setting, follow, interval, load, measured, over_seeds

KEYS = ("sst2_teacher", "sst2_retention", "sst2_speedup", "sst2_size")

_FEW = 100
"""Held-out sentences of a quick run."""


def measure(setting: Setting) -> Figures:
    """Accuracy on the development set; sentences per second of their real lengths, on one thread."""
    return over_seeds(setting, partial(_measure, setting))


def _measure(setting: Setting, seed: int) -> Figures:
    made = follow(load(RECIPES / "sentiment.yaml", {"seed": seed} | _changes(setting), setting), setting)
    teacher, control, student, served = (measured(made, step) for step in ("teacher", "control", "distill", "quantize"))
    right = teacher.quality.value
    return {
        **interval(made, "teacher", "sst2_teacher"),
        **interval(made, "control", "sst2_control"),
        **interval(made, "quantize", "sst2_student"),
        "sst2_retention": served.quality.value / right,
        "sst2_fp32_retention": student.quality.value / right,
        "sst2_control_retention": control.quality.value / right,
        "sst2_speedup": teacher.latency_s[1] / served.latency_s[1],
        "sst2_speedup_batch_32": teacher.latency_s[32] / served.latency_s[32],
        "sst2_fp32_speedup": teacher.latency_s[1] / student.latency_s[1],
        "sst2_size": teacher.size_bytes / served.size_bytes,
    }


def _changes(setting: Setting) -> dict[str, Any]:
    """Where the files are."""
    setting.results.mkdir(parents=True, exist_ok=True)
    held_out = setting.results / "sst2-dev.tsv"  # its columns are named unlike those of the training data
    _, *rows = (setting.data / "sst2/dev.tsv").read_text().splitlines()
    if setting.quick:
        rows = rows[:_FEW]
    held_out.write_text("\n".join(["label\tsentence", *rows]) + "\n")
    changes: dict[str, Any] = {
        "data.held_out": str(held_out.absolute()),
        "data.tokenizer": setting.minilm,
        "teacher.model.name": setting.minilm,
        "teacher.publish": True,  # for headline of benchmarks.serving
    }
    if setting.quick:
        changes |= {"data.share": 0.002, "data.validation": 0.002, "data.phrases.num": 100, "steps.1.max_changed": 1.0}
    return changes
