"""Nothing is trained twice, and nothing that differs is taken for the same; by whole runs in this process."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from optimization.identity import code
from optimization.readers.examples import Dataset, Split
from optimization.recipe import recipe
from optimization.recipe.methods import SetPrecision
from optimization.recipe.recipe import Recipe
from optimization.report.phases import Advance, Phases
from optimization.running.shrink import shrink
from optimization.running.teach import teach
from optimization.running.workspace import Candidate, Workspace
from optimization.training.alone import Alone
from optimization.training.checkpoint_store import CheckpointStore
from optimization.training.job import Job
from optimization.training.reuse import Reusing
from tests.optimization.training.test_loop import Silent


class Noted(Alone):
    """Trains here, and notes what it is asked for; may be stopped after an epoch of one step."""

    def __init__(self, split: Split, stop: tuple[str, int] | None) -> None:
        super().__init__(split, Silent(), lambda _model: None)
        self.asked: list[str] = []
        self._stop = stop

    def train(self, job: Job, advance: Advance) -> nn.Module:
        self.asked.append(job.step)

        def heard(num_epochs: int, loss: float) -> None:
            advance(num_epochs, loss)
            if (job.step, num_epochs) == self._stop:
                raise KeyboardInterrupt

        return super().train(job, heard)

    def answer(self, model: nn.Module, precision: SetPrecision) -> NDArray[np.float32]:
        self.asked.append("answer")
        return super().answer(model, precision)


class Unexported(Workspace):
    """Keeps weights in place of ONNX files, which take seconds to write."""

    def keep(self, step: str, model: nn.Module) -> None:
        path = self.folder / f"{step}.weights"
        path.write_bytes(b"".join(each.detach().numpy().tobytes() for each in model.state_dict().values()))
        self.candidates.append(Candidate(step=step, path=path, output="probabilities", num_parameters=0))


class Runs:
    """Runs of one recipe with other settings, which share what they keep."""

    def __init__(self, wanted: Recipe, dataset: Dataset, folder: Path, phases: Phases) -> None:
        self.raw = wanted.model_dump(mode="json")
        self.dataset = dataset
        self.said: list[str] = []
        self._folder = folder
        self._phases = phases

    def __call__(
        self, stop: tuple[str, int] | None = None, kept: str = "runs", **options: Any
    ) -> tuple[list[str], dict[str, bytes]]:
        """What had to be trained or asked, and the files that the steps left behind."""
        self.said.clear()
        wanted = recipe.parse(self.raw)
        store = CheckpointStore(self._folder / kept, wanted.name, say=self.said.append, **options)
        trainer = Noted(self.dataset.train, stop)
        folder = self._folder / "onnx"
        folder.mkdir(exist_ok=True)
        kind = Workspace if "quantize" in [each.kind for each in wanted.steps] else Unexported
        workspace = kind(
            recipe=wanted,
            dataset=self.dataset,
            folder=folder,
            trainer=Reusing(trainer, self.dataset.train, store),
            phases=self._phases,
            checkpoints=store,
        )
        shrink(workspace, teach(workspace))
        return trainer.asked, {each.step: each.path.read_bytes() for each in workspace.candidates}


ALL = ["teacher", "answer", "control", "distill", "score", "prune", "prune"]


@pytest.fixture
def runs(seed_recipe: Recipe, tumours: Dataset, tmp_path: Path) -> Iterator[Runs]:
    raw = seed_recipe.model_dump(mode="json")
    raw["workers"] = 1
    raw["teacher"]["training"]["epochs"] = raw["steps"][0]["training"]["epochs"] = 3
    recovery = {"epochs": 2, "batch_size": 32}
    raw["steps"] = [
        raw["steps"][0],
        {"kind": "prune", "ratio": 0.3, "stages": 2, "score": "movement", "recovery": recovery},
    ]
    with Phases(Console(file=io.StringIO())) as phases:
        yield Runs(recipe.parse(raw), tumours, tmp_path, phases)


def test_a_run_that_ended_trains_nothing_again_and_gives_the_same_bytes(runs: Runs) -> None:
    trained, files = runs()
    assert trained == ALL
    assert runs.said == [], "there was nothing before it"
    again, same = runs()
    assert again == []
    assert same == files
    assert "teacher: used again, trained before (3 epochs)" in runs.said
    assert "prune 2: used again, trained before (2 epochs)" in runs.said


@pytest.mark.parametrize(
    ("place", "value", "trained", "said"),
    [
        (("steps", 1, "ratio"), 0.4, ["prune", "prune"], "prune: trained anew, changed: start"),
        (("steps", 1, "recovery", "epochs"), 3, ["prune", "prune"], "prune: trained anew, changed: epochs 2 → 3"),
        (("steps", 0, "alpha"), 0.9, ["distill", "score", "prune", "prune"], "distill: trained anew, changed: alpha"),
        (("seed",), 3, ALL, "teacher: trained anew, changed: start, seed"),
    ],
)
def test_a_changed_step_uses_again_what_came_before_it(
    runs: Runs, place: tuple[Any, ...], value: Any, trained: list[str], said: str
) -> None:
    runs()
    *path, last = place
    inner = runs.raw
    for key in path:
        inner = inner[key]
    inner[last] = value
    assert runs()[0] == trained
    assert any(line.startswith(said) for line in runs.said), runs.said


def test_another_max_changed_of_the_last_step_trains_nothing(runs: Runs) -> None:
    runs.raw["steps"] = [runs.raw["steps"][0], {"kind": "quantize", "max_changed": 0.2}]
    assert runs()[0] == ["teacher", "answer", "control", "distill"]
    runs.raw["steps"][1]["max_changed"] = 0.5
    assert runs()[0] == []


def test_changed_data_are_learned_anew(runs: Runs) -> None:
    runs()
    runs.dataset.train.inputs["features"][0, 0] += 1
    try:
        assert runs()[0] == ALL
    finally:
        runs.dataset.train.inputs["features"][0, 0] -= 1
    assert runs.said[0] == "teacher: trained anew, changed: data"
    assert runs()[0] == [], "what was learned of the former data is still there"


def test_changed_code_trains_anew(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs()
    monkeypatch.setattr(code, "own", lambda: "0" * 64)
    assert runs()[0] == ALL
    assert runs.said[0] == "teacher: trained anew, changed: code"


@pytest.mark.parametrize("stop", [("teacher", 1), ("distill", 3), ("score", 1), ("prune", 1)])
def test_an_interrupted_run_ends_with_the_same_bytes_as_an_uninterrupted_one(runs: Runs, stop: tuple[str, int]) -> None:
    _, undisturbed = runs(kept="others")
    with pytest.raises(KeyboardInterrupt):
        runs(stop=stop)
    trained, files = runs()
    assert trained[0] == stop[0]
    assert f"{stop[0]}: goes on from its last epoch" in runs.said
    assert files == undisturbed


def test_a_fresh_run_trains_anew_and_loses_nothing(runs: Runs) -> None:
    _, files = runs()
    trained, again = runs(fresh=True)
    assert trained == ALL
    assert again == files, "the same, since all of it is decided by the seed"
    with pytest.raises(KeyboardInterrupt):
        runs(stop=("distill", 1), fresh=True)
    assert runs()[0] == [], "what was trained before the fresh run is still there"


def test_answers_that_are_damaged_are_asked_for_again(runs: Runs, tmp_path: Path) -> None:
    runs()
    for path in (tmp_path / "runs" / "answers").iterdir():
        path.write_bytes(b"\x93NUMPY")
    assert runs()[0] == ["answer"]
    assert any("the answers kept are damaged" in line for line in runs.said)


def test_what_was_not_used_for_longest_goes_first_and_is_told(runs: Runs, tmp_path: Path) -> None:
    runs()
    homes = sorted((tmp_path / "runs" / "checkpoints").iterdir())
    for each in homes:
        os.utime(each, (1, 1))
    runs.raw["steps"][0]["alpha"] = 0.9
    trained, _ = runs(limit_bytes=1)
    assert trained == ["distill", "score", "prune", "prune"], "what this run uses stays"
    assert any("unused for longest, removed: limit" in line for line in runs.said)
    left = {each for each in homes if each.exists()}
    assert len(left) == 2, "of the former run the teacher and the control, which were used again"
    assert runs()[0] == []


def test_a_model_that_cannot_be_recognised_is_trained_without_being_kept(points: Split, tmp_path: Path) -> None:
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 1)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.layer(inputs if inputs.sum() > 0 else -inputs)

    said: list[str] = []
    store = CheckpointStore(tmp_path, "choosy", say=said.append)
    trainer = Noted(points, None)
    training = recipe.Training(epochs=1)
    for _ in range(2):
        job = Job(step="teacher", model=Choosy(), training=training, seed=0)
        Reusing(trainer, points, store).train(job, lambda _epochs, _loss: None)
    assert trainer.asked == ["teacher", "teacher"]
    assert said[0].startswith("teacher: not kept: the model must be traceable to be recognised")
