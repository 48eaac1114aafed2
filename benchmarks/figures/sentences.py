"""SST-2: MiniLM-L6 fine-tuned, and a small student of it (Socher 2013; Wang 2020, arXiv:2002.10957)."""

from typing import Any

from benchmarks.figures.setting import RECIPES, Figures, Setting, follow, load, measured

KEYS = ("sst2_teacher", "sst2_retention", "sst2_speedup", "sst2_size")


def measure(setting: Setting) -> Figures:
    """Accuracy on the development set; speed of sentences one by one, of their real lengths, on one thread."""
    changes: dict[str, Any] = {"data.tokenizer": setting.minilm, "teacher.model.name": setting.minilm}
    changes |= {"data.share": 0.02} if setting.quick else {}
    made = follow(load(RECIPES / "sentiment.yaml", changes, setting), setting)
    teacher, served = measured(made, "teacher"), measured(made, "quantize")
    return {
        "sst2_teacher": teacher.quality.value,
        "sst2_retention": served.quality.value / teacher.quality.value,
        "sst2_control_retention": measured(made, "control").quality.value / teacher.quality.value,
        "sst2_speedup": teacher.latency_s[1] / served.latency_s[1],
        "sst2_speedup_batch_32": teacher.latency_s[32] / served.latency_s[32],
        "sst2_size": teacher.size_bytes / served.size_bytes,
    }
