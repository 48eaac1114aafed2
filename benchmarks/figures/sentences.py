"""SST-2: MiniLM-L6 fine-tuned (Wang 2020, arXiv:2002.10957; Socher 2013), and its students.

One has three of its six layers. One has no attention; its speed is that of a whole answer, tokenizer included on both
sides, since the tokenizer takes a good part of it.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures.setting import RECIPES, Figures, Setting, follow, interval, load, measured, over_seeds
from optimization.artifact import store
from optimization.artifact.manifest import TextPreprocessing
from optimization.artifact.raw import text
from optimization.graphs import graph

KEYS = ("sst2_teacher", "sst2_retention", "sst2_speedup", "sst2_size")
LIGHT_KEYS = ("sst2_light_retention", "sst2_light_speedup")

_FEW = 100
"""Held-out sentences of a quick run."""
_TIMED = 200
"""Held-out sentences that answers are timed on."""
_TURNS = 5


def measure(setting: Setting) -> Figures:
    """Accuracy on the development set; sentences per second of their real lengths, on one thread."""
    return over_seeds(setting, partial(_measure, setting))


def measure_light(setting: Setting) -> Figures:
    """The same of the student without attention; sentences per second one by one, from text to probability."""
    return over_seeds(setting, partial(_measure_light, setting))


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


def _measure_light(setting: Setting, seed: int) -> Figures:
    made = follow(load(RECIPES / "sentiment-light.yaml", {"seed": seed} | _changes(setting), setting), setting)
    teacher, control, student = (measured(made, step) for step in ("teacher", "control", "distill"))
    served = made.manifest.measurements[-1]
    assert made.manifest.parent is not None, "the teacher was published"
    texts = [line.split("\t", 1)[1] for line in _held_out(setting).read_text().splitlines()[1:]]
    chosen = [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:_TIMED]]
    teacher_s, served_s = seconds([setting.results / made.manifest.parent, made.path], chosen)
    return {
        **interval(made, "teacher", "sst2_light_teacher"),
        **interval(made, served.step, "sst2_light_student"),
        "sst2_light_retention": served.quality.value / teacher.quality.value,
        "sst2_light_fp32_retention": student.quality.value / teacher.quality.value,
        "sst2_light_control_retention": control.quality.value / teacher.quality.value,
        "sst2_light_speedup": teacher_s / served_s,
        "sst2_light_student_us": 1e6 * served_s,
    }


def seconds(artifacts: Sequence[Path], texts: Sequence[str]) -> list[float]:
    """What an answer to one text takes with each artifact, in turns: the mean of the texts' medians."""
    calls = [_answering(each) for each in artifacts]
    durations = np.empty((len(texts), _TURNS, len(calls)))
    for number, each in enumerate(texts):
        for turn in range(_TURNS):
            for place, call in enumerate(calls):
                began = time.perf_counter()
                call(each)
                durations[number, turn, place] = time.perf_counter() - began
    found: list[float] = np.median(durations, axis=1).mean(axis=0).tolist()
    return found


def _answering(folder: Path) -> Callable[[str], object]:
    """From a text to its probabilities, on one thread."""
    artifact = store.load(folder)
    how, session = artifact.manifest.preprocessing, graph.session(artifact.model_path)
    assert isinstance(how, TextPreprocessing), "the recipe is of texts"
    prepare = text.tokens(how, folder / how.tokenizer, [each.name for each in session.get_inputs()])
    return lambda raw: session.run(None, prepare(np.array([raw.encode()], object)))


def _held_out(setting: Setting) -> Path:
    """The development set, in a file whose columns are named as those of the training data."""
    setting.results.mkdir(parents=True, exist_ok=True)
    path = (setting.results / "sst2-dev.tsv").absolute()
    _, *rows = (setting.data / "sst2/dev.tsv").read_text().splitlines()
    path.write_text("\n".join(["label\tsentence", *(rows[:_FEW] if setting.quick else rows)]) + "\n")
    return path


def _changes(setting: Setting) -> dict[str, Any]:
    """Where the files are."""
    changes: dict[str, Any] = {
        "data.held_out": str(_held_out(setting)),
        "data.tokenizer": setting.minilm,
        "teacher.model.name": setting.minilm,
        "teacher.publish": True,  # for headline of benchmarks.serving
    }
    if setting.quick:
        changes |= {"data.share": 0.002, "data.validation": 0.002, "data.phrases.num": 100, "steps.1.max_changed": 1.0}
    return changes
