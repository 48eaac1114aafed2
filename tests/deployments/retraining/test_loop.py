"""From an alert to a version that answers, with a recipe's process that is real and a server that is not."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

import tests
from deployments.commands.client import Client
from deployments.errors import CallError
from deployments.monitoring.sample_files import Labelled, Sampled, write
from deployments.retraining import recipe_process
from deployments.retraining.journal import Journal, give_order
from deployments.retraining.loop import Loop
from deployments.retraining.settings import RetrainingSettings, read
from deployments.retraining.training import Training
from optimization.artifact import store
from tests.conftest import expected_probabilities
from tests.deployments.retraining.published import publish_classifier

PUBLISH = """
from pathlib import Path
from tests.deployments.retraining.published import publish_classifier
publish_classifier(Path({artifacts!r}))
"""


@dataclass(frozen=True, kw_only=True)
class Others(Client):
    """The collector and the server at once."""

    url: str = "http://nobody"
    firing: list[int] = field(default_factory=list)
    refuses: list[str] = field(default_factory=list)
    rollouts: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[HTTPMessage, bytes]:
        if path == "/api/incidents":
            return HTTPMessage(), json.dumps(
                {"incidents": [{"evidence": [_evidence(each) for each in self.firing]}]}
            ).encode()
        if method == "POST" and self.refuses:
            raise CallError("canary: must rise", status=400)
        if method == "POST":
            self.asked.append(json.loads(body or b""))
            self.rollouts.insert(
                0, {"candidate": self.asked[-1]["version"], "phase": "canary", "decisions": [{"text": "on"}]}
            )
        elif not self.rollouts:
            raise CallError("never rolled out", status=404)
        return HTTPMessage(), json.dumps({"rollouts": self.rollouts}).encode()


def _evidence(alert: int) -> dict[str, Any]:
    told = {"alert": alert, "service": "tiny", "signal": "drift", "state": "firing"}
    return {**told, "started_s": 100.0, "fired_s": 100.0, "sentence": "x1 has drifted"}


class House:
    """A model with sampled requests, and a loop over it on a clock of its own."""

    def __init__(self, folder: Path, **given: Any) -> None:
        publish_classifier(folder / "artifacts")
        publish_classifier(folder / "artifacts", "teacher")
        (folder / "recipe.yaml").write_text("name: tiny\ndata: {train: '{gathered}/train.parquet'}\n")
        settings = {
            "model": "tiny",
            "recipe": "recipe.yaml",
            "samples": "samples",
            "state": "state",
            "teacher": "teacher",
            "least_rows": 40,
            "rest_s": 1000.0,
            "most_slowdown": 100.0,
            **given,
        }
        (folder / "retrain.yaml").write_text(json.dumps(settings))
        self.folder = folder
        self.settings: RetrainingSettings = read(folder / "retrain.yaml")
        self.others = Others()
        self.now_s = 200.0
        self.said: list[str] = []
        self.journal = Journal(self.settings.state)
        self.loop = self._loop()

    def _loop(self) -> Loop:
        return Loop(
            self.settings,
            self.journal,
            self.others,
            self.others,
            say=self.said.append,
            clock=lambda: self.now_s,
            wait=lambda _: time.sleep(0.02),
        )

    def killed(self) -> None:
        """Another loop goes on."""
        self.journal.close()
        self.journal = Journal(self.settings.state)
        self.loop = self._loop()

    def sample(self, rows: int, at_s: float = 150.0) -> None:
        inputs = np.random.default_rng(0).normal(size=(rows, 1, 4)).astype(np.float32)
        sampled = [Sampled(request_id=f"r{i}", inputs={"features": each}, at_s=at_s) for i, each in enumerate(inputs)]
        write(self.settings.samples / "tiny", "1", sampled, [Labelled(request_id="r3", row=0, label=1)])

    def step(self) -> Training:
        found = self.loop.step()
        assert found is not None
        return found


@pytest.fixture(autouse=True)
def _quick_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe that publishes the same weights again."""

    def command(_recipe: Path, *, artifacts: Path, **_: Any) -> list[str]:
        return [sys.executable, "-c", PUBLISH.format(artifacts=str(artifacts))]

    monkeypatch.setenv("PYTHONPATH", str(Path(tests.__file__).parents[1]))

    monkeypatch.setattr(recipe_process, "command", command)


def test_an_alert_ends_in_a_version_that_is_promoted(tmp_path: Path) -> None:
    house = House(tmp_path)
    assert house.loop.step() is None, "nothing fires"
    house.others.firing.append(7)
    house.sample(50, at_s=90.0)
    assert house.step().phase == "gathering"
    assert house.step().phase == "gathering", "these rows are from before"
    house.sample(60)
    assert [house.step().phase for _ in range(3)] == ["training", "checking", "rolling_out"]
    assert store.versions(tmp_path / "artifacts", "tiny") == [1], "what nobody rolls out is not published"
    house.step()
    assert store.versions(tmp_path / "artifacts", "tiny") == [1, 2]
    assert house.others.asked[0]["version"] == "2"
    assert house.others.asked[0]["analysis"]["most_changed"] is None
    assert house.step().phase == "rolling_out"
    house.others.rollouts[0]["phase"] = "promoted"
    assert house.step().phase == "promoted"
    house.now_s += 500
    assert house.step().id == 1, "it rests"
    house.now_s += 5000
    assert house.step().id == 1, "the same alert leads to no second training"
    house.others.firing.append(8)
    assert house.step().id == 2


def test_rows_are_labelled_by_feedback_else_by_the_teacher(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.others.firing.append(7)
    house.sample(60)
    house.step()
    assert house.step().phase == "training"
    data = tmp_path / "state" / "1" / "data"
    tables = [pyarrow.parquet.read_table(data / f"{name}.parquet").to_pandas() for name in ("train", "held_out")]
    assert [len(each) for each in tables] == [45, 15]
    wrong = 0
    for table in tables:
        features = table[["x0", "x1", "x2", "x3"]].to_numpy()
        wrong += int((expected_probabilities(features).argmax(axis=1) != table["label"]).sum())
    taught = np.random.default_rng(0).normal(size=(60, 1, 4)).astype(np.float32)[3]
    assert wrong == int(expected_probabilities(taught).argmax() != 1)


def test_each_phase_goes_on_in_another_loop(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.others.firing.append(7)
    house.sample(60)
    seen = []
    for _ in range(5):
        house.killed()
        seen.append(house.step().phase)
    house.others.rollouts[0]["phase"] = "promoted"
    house.killed()
    seen.append(house.step().phase)
    assert seen == ["gathering", "training", "checking", "rolling_out", "rolling_out", "promoted"]
    assert len(house.others.asked) == 1


def test_a_version_that_gains_too_little_is_dropped(tmp_path: Path) -> None:
    house = House(tmp_path, least_gain=0.1)
    house.others.firing.append(7)
    house.sample(60)
    while not house.step().has_ended:
        pass
    assert house.step().phase == "dropped"
    assert "it must gain 10.0%" in house.said[-1]
    assert not house.others.asked


def test_a_rollout_that_is_refused_drops_the_version(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.others.firing.append(7)
    house.others.refuses.append("canary")
    house.sample(60)
    while not house.step().has_ended:
        pass
    assert house.said[-1].endswith("dropped: its rollout is refused: canary: must rise")


def test_without_rows_in_time_nothing_is_trained(tmp_path: Path) -> None:
    house = House(tmp_path, gather_s=60.0)
    house.others.firing.append(7)
    house.sample(10)
    house.step()
    house.now_s += 100
    assert house.step().phase == "dropped"


def test_a_person_may_be_asked_first(tmp_path: Path) -> None:
    house = House(tmp_path, approval=True)
    house.others.firing.append(7)
    house.sample(60)
    phases = [house.step().phase for _ in range(6)]
    assert phases[-3:] == ["awaiting_approval"] * 3
    give_order(house.settings.state, "reject")
    house.killed()
    assert house.step().phase == "dropped"
    assert house.journal.order() is None


def test_a_collector_that_is_gone_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)

    def gone(*_: Any) -> Any:
        raise CallError("does not answer")

    monkeypatch.setattr(Others, "ask", gone)
    assert house.loop.step() is None
