"""A classifier that somebody else has fine-tuned, and a CSV: what `init` drafts, and what its recipe makes of them."""

import csv
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.figures.setting import Figures, Setting, interval, measured
from optimization.artifact import store

KEYS = ("bring_minutes", "bring_retention", "bring_speedup")

Row = tuple[str, str]
"""Label and sentence."""
_ROWS = 5000
_TUNED_ON = 30_000
"""Sentences that the classifier is fine-tuned on, none of which are in the CSV."""
_FEW = 200
"""Of either, in a quick run."""
_BATCH, _RATE, _WARMUP, _TOKENS = 32, 5e-5, 0.1, 64
_NAME = "bring"


def measure(setting: Setting) -> Figures:
    """Minutes from a folder and 5,000 rows of SST-2 to an artifact, with what `init` chooses; accuracy on the
    development set over the classifier's, and sentences per second over its own, at batch 1.
    """
    folder = _fine_tuned(setting)
    rows = _written(setting.results / "bring.csv", _rows(setting, "train")[: _FEW if setting.quick else _ROWS])
    held_out = _written(setting.results / "bring-dev.csv", _rows(setting, "dev")[: _FEW if setting.quick else None])
    drafted = setting.results / "bring.yaml"
    began = time.perf_counter()
    given = ["--data", str(rows), "--held-out", str(held_out), "--name", _NAME, "--output", str(drafted), "--overwrite"]
    _optimization("init", str(folder), *given)
    _optimization("run", str(drafted), "--fresh", "--artifacts", str(setting.results))
    minutes = (time.perf_counter() - began) / 60
    made = store.load(setting.results / _NAME / str(max(store.versions(setting.results, _NAME))))
    teacher, served = measured(made, "teacher"), made.manifest.measurements[-1]
    return {
        "bring_minutes": minutes,
        **interval(made, "teacher", "bring_teacher"),
        **interval(made, served.step, "bring_student"),
        "bring_retention": served.quality.value / teacher.quality.value,
        "bring_speedup": teacher.latency_s[1] / served.latency_s[1],
    }


def _optimization(*arguments: str) -> None:
    """The command, as a user types it; it tells how far it is."""
    subprocess.run([sys.executable, "-m", "optimization", *arguments], check=True, stdout=sys.stderr)


def _fine_tuned(setting: Setting) -> Path:
    """MiniLM-L6 with transformers' own head, fine-tuned by a plain loop; a folder as `save_pretrained` leaves it."""
    folder = setting.results / "sst2-classifier"
    if (folder / "config.json").exists():
        return folder
    import transformers

    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(setting.minilm)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(setting.minilm, num_labels=2)
    model.config.id2label, model.config.label2id = {0: "0", 1: "1"}, {"0": 0, "1": 1}
    batches = _batches(_rows(setting, "train")[_ROWS:][: _FEW if setting.quick else _TUNED_ON])
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
    rises, steps = int(_WARMUP * len(batches)), len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / max(1, rises), (steps - step) / max(1, steps - rises))
    )
    model.train()
    for batch in batches:
        labels, texts = zip(*batch, strict=True)
        given = tokenizer(list(texts), truncation=True, max_length=_TOKENS, padding=True, return_tensors="pt")
        model(**given, labels=torch.tensor([int(each) for each in labels])).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _rows(setting: Setting, name: str) -> list[Row]:
    """All of a file, in an order of its own."""
    _, *lines = (setting.data / f"sst2/{name}.tsv").read_text().splitlines()
    random = np.random.default_rng(0)
    return [(label, text) for label, text in (lines[row].split("\t") for row in random.permutation(len(lines)))]


def _batches(rows: list[Row]) -> list[list[Row]]:
    """Rows of about one length together, the batches in random order."""
    random = np.random.default_rng(1)
    lengths = np.array([len(text.split()) for _, text in rows]) + random.random(len(rows))
    batches = np.array_split(np.argsort(lengths), math.ceil(len(rows) / _BATCH))
    random.shuffle(batches)
    return [[rows[row] for row in batch] for batch in batches]


def _written(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("label", "sentence"), *rows])
    return path.absolute()
