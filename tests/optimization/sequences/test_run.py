"""A recipe of text pairs from end to end: a small T5 learns to write digits in reverse."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from optimization.artifact import store
from optimization.graphs import graph
from optimization.report.phases import Phases
from optimization.sequences import greedy, recipe, writing
from optimization.sequences import run as sequences
from optimization.sequences.pairs import encode
from optimization.training.checkpoint_store import CheckpointStore
from tests.optimization.sequences.test_sequences import READ, WORDS
from tests.optimization.sequences.toys import END, SPECIAL, model, write_task

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]


def test_teacher_writes_the_same_in_parallel_and_once(ray_cluster: None, tmp_path: Path) -> None:
    teacher, split = model("t5"), encode(READ * 3, WORDS * 3, SPECIAL)
    expected = writing.write(teacher, split, beams=2, max_length=6)
    for _ in range(2):
        store = CheckpointStore(tmp_path, "writer")
        found = writing.once(teacher, split, store, beams=2, max_length=6, num_workers=2)
        np.testing.assert_array_equal(found, expected)
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_small_model_writes_what_its_teacher_writes(ray_cluster: None, tmp_path: Path) -> None:
    write_task(tmp_path, num_pairs=700)
    training = {"batch_size": 32, "learning_rate": 0.004}
    wanted = recipe.parse(
        {
            "name": "reverse",
            "workers": 1,
            "data": {
                "kind": "pairs",
                "train": str(tmp_path / "pairs.jsonl"),
                "tokenizer": str(tmp_path / "tokenizer.json"),
                "max_length": 8,
            },
            "teacher": {
                "model": {"kind": "huggingface", "name": str(tmp_path), "pretrained": False},
                "training": training | {"epochs": 100},
            },
            "steps": [
                {
                    "kind": "distill",
                    "student": {"kind": "teacher_layers", "encoder": [0, 1], "decoder": [0]},
                    "beams": 2,
                    "alpha": 0.3,
                    "training": training | {"epochs": 40},
                },
                {"kind": "quantize", "publish": "always", "calibration_samples": 32},
            ],
        }
    )
    with Phases(Console(quiet=True)) as phases:
        made = sequences.run(wanted, tmp_path, phases, CheckpointStore(tmp_path / "runs", wanted.name))
    loaded = store.load(made.path)
    manifest = loaded.manifest

    assert [each.step for each in manifest.measurements] == ["teacher", "control", "distill", "quantize"]
    teacher, _, student, small = manifest.measurements
    assert teacher.quality.metric == "exact match"
    assert teacher.quality.value > 0.75
    assert student.quality.value > 0.9 * teacher.quality.value
    assert small.quality.value > 0.9 * student.quality.value
    assert small.size_bytes < student.size_bytes < teacher.size_bytes
    assert manifest.findings.scores["quantize"]["chrF"] > 80
    assert manifest.parity is not None
    assert manifest.parity <= 1e-4
    assert sorted(path.name for path in loaded.path.iterdir()) == [
        "example.json",
        "manifest.json",
        "model.onnx",
        "report.html",
        "tokenizer.json",
    ]
    batch = {"input_ids": np.array([[5, 6, 7, END]]), "attention_mask": np.ones((1, 4), np.int64)}
    assert greedy.write(graph.session(loaded.model_path), batch, END, 8).tolist() == [[7, 6, 5, *[END] * 5]]
