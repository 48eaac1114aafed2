"""Of text pairs, too, what decides does not report, and what is published writes what was measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from optimization.artifact import store
from optimization.errors import DataError, VerifyError
from optimization.readers import text
from optimization.readers.examples import Split
from optimization.report.phases import Phases
from optimization.running.workspace import Candidate
from optimization.sequences import greedy, pairs, recipe
from optimization.sequences import run as sequences
from optimization.sequences.models import Seq2Seq
from optimization.sequences.pairs import Corpus
from optimization.sequences.run import SequenceWorkspace
from optimization.tasks.text_pairs import TextPairs
from tests.optimization.running.test_decisions import Sealed
from tests.optimization.sequences.toys import END, SPECIAL, write_task

MAX_LENGTH = 6


@dataclass(frozen=True, kw_only=True)
class Made:
    """A teacher's file, and a recipe that only quantizes it."""

    workspace: SequenceWorkspace
    teacher: Candidate

    def again(self, folder: Path, **changes: Any) -> SequenceWorkspace:
        """A workspace of the same teacher, with nothing made of it yet."""
        return replace(self.workspace, folder=folder, candidates=[self.teacher], **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, exported: Callable[[str], tuple[Seq2Seq, Path]]) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("pairs")
    write_task(folder)
    random = np.random.default_rng(0)

    def split(num: int) -> Split:
        read = [random.integers(4, 14, random.integers(1, 5)).tolist() for _ in range(num)]
        return pairs.encode([[*each, END] for each in read], [[*each[::-1], END] for each in read], SPECIAL)

    held_out = split(80)
    corpus = Corpus(
        train=split(20),
        validation=split(20),
        held_out=Sealed(inputs=held_out.inputs, labels=held_out.labels, lengths=held_out.lengths),
        references=("1 2",) * 80,
        tokenizer=text.tokenizer(str(folder / "tokenizer.json"), MAX_LENGTH),
        special=SPECIAL,
        max_length=MAX_LENGTH,
    )
    data = {"kind": "pairs", "train": str(folder / "pairs.jsonl"), "tokenizer": str(folder / "tokenizer.json")}
    teacher = {"model": {"kind": "huggingface", "name": str(folder), "pretrained": False}}
    steps = [{"kind": "quantize", "calibration_samples": 16, "max_changed": 1.0}]
    wanted = recipe.parse({"name": "reverse", "data": data, "teacher": teacher, "steps": steps})
    candidate = Candidate(
        step="teacher", path=exported("t5")[1], output=TextPairs().output, num_parameters=1, parity=0.0
    )
    with Phases(Console(quiet=True)) as phases:
        workspace = SequenceWorkspace(
            recipe=wanted, corpus=corpus, named={}, folder=folder, phases=phases, checkpoints=None
        )
        yield Made(workspace=workspace, teacher=candidate)


def test_held_out_pairs_are_read_once_all_is_decided(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes that stay in fp32, and whether INT8 is faster."""
    monkeypatch.setattr(Sealed, "is_open", False)
    decide = sequences._faster_last

    def last_decision(workspace: SequenceWorkspace) -> list[Candidate]:
        decided = decide(workspace)
        monkeypatch.setattr(Sealed, "is_open", True)
        return decided

    monkeypatch.setattr(sequences, "_faster_last", last_decision)
    found = sequences.finish(made.again(tmp_path), tmp_path / "artifacts").manifest.findings.examples
    assert found is not None
    assert (found.num_train, found.num_validation, found.num_held_out) == (20, 20, 80)


def test_what_does_not_write_what_was_measured_is_not_published(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the manifest lets it write a word less."""
    monkeypatch.setattr(Sealed, "is_open", True)
    stream, texts = greedy.stream, greedy.texts

    def then_driven_otherwise(written: NDArray[np.int64], corpus: Corpus) -> list[str]:
        monkeypatch.setattr(greedy, "stream", lambda end, max_length: stream(end, max_length - 1))
        return texts(written, corpus)

    monkeypatch.setattr(greedy, "texts", then_driven_otherwise)
    with pytest.raises(VerifyError, match="the check of outputs by CPUExecutionProvider failed"):
        sequences.finish(made.again(tmp_path), tmp_path / "artifacts")
    assert store.versions(tmp_path / "artifacts", "reverse") == []


def test_each_pair_teaches_decides_or_reports(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = made.workspace.recipe.data
    monkeypatch.setattr(pairs, "_read", lambda *_: tuple([str(row) for row in range(num)] for _ in range(2)))
    num = 10
    corpus = pairs.load(wanted.model_copy(update={"validation": 0.25}), SPECIAL, 14, seed=0)
    assert [len(each) for each in (corpus.train, corpus.validation, corpus.held_out)] == [6, 2, 2]
    read = np.concatenate(
        [each.inputs["input_ids"][:, 0] for each in (corpus.train, corpus.validation, corpus.held_out)]
    )
    assert sorted(read.tolist()) == list(range(4, 14))
    num = 2
    with pytest.raises(DataError, match=r"data\.train must have at least 3 pairs, got 2"):
        pairs.load(wanted, SPECIAL, 14, seed=0)
