"""A manifest describes the file beside it: its precision, what it was made from, and what its teacher is."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from optimization.artifact import store
from optimization.measuring import latency
from optimization.readers.examples import Dataset
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe
from optimization.report import terminal
from optimization.report.phases import Phases
from optimization.running import run
from optimization.running.shrink import shrink
from optimization.running.teach import teach
from optimization.running.workspace import Workspace
from optimization.training.alone import Alone
from tests.optimization.training.test_loop import Silent


@pytest.fixture
def phases() -> Iterator[Phases]:
    with Phases(Console(file=io.StringIO())) as shown:
        yield shown


@pytest.mark.parametrize("method", ["static", "fp16"])
def test_teacher_and_small_model_are_described_as_what_they_are(
    seed_recipe: Recipe,
    tumours: Dataset,
    tmp_path: Path,
    phases: Phases,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    """With `static`, fp32 is found faster: then the last file is the teacher's own."""
    monkeypatch.setattr(latency, "speedup", lambda _before, _after: 0.5)
    raw = seed_recipe.model_dump(mode="json")
    raw["teacher"]["publish"] = True
    raw["teacher"]["training"]["epochs"] = 2
    raw["steps"] = [{"kind": "quantize", "method": method, "max_changed": 0.5}]
    wanted = recipe.parse(raw)
    trainer = Alone(tumours.train, Silent(), lambda _model: None)
    workspace = Workspace(recipe=wanted, dataset=tumours, folder=tmp_path, trainer=trainer, phases=phases)
    shrink(workspace, teach(workspace))
    published = run.publish(wanted, workspace, tmp_path / "artifacts").manifest
    teacher = store.load(tmp_path / "artifacts" / f"{wanted.name}-teacher" / "1")
    assert published.parent == f"{wanted.name}-teacher/1"
    assert teacher.manifest.parent is None
    assert [(each.step, each.precision) for each in teacher.manifest.measurements] == [("teacher", "FP32")]
    assert teacher.manifest.measurements[0].size_bytes == teacher.manifest.files[store.MODEL].size_bytes
    precisions = {each.step: each.precision for each in published.measurements}
    assert precisions == {"teacher": "FP32", "quantize": "FP16" if method == "fp16" else "INT8"}
    assert published.measurements[-1].size_bytes == published.files[store.MODEL].size_bytes
    assert published.reference is not None
    assert [each.name for each in published.reference.inputs] == [f"features[{column}]" for column in range(8)]
    assert {"class", "confidence"} < {each.name for each in published.reference.outputs}
    assert published.reference.num_rows == len(tumours.held_out)
    assert published.fidelity is not None
    assert published.fidelity.teacher == published.parent
    assert published.fidelity.num_agreed >= 0.5 * published.fidelity.num_rows
    said = "\n".join(terminal.statements(published))
    assert ("FP16: " in said) is (method == "fp16")
    assert ("INT8" in said) is (method == "static")
