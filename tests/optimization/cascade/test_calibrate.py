"""Real students and teachers of real digits: trained for a second, measured, published."""

import hashlib
import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from rich.console import Console

from optimization import __main__
from optimization.artifact import cascade, store
from optimization.artifact.manifest import TextPreprocessing
from optimization.cascade import calibrate, threshold
from optimization.errors import CascadeError, CompareError
from optimization.graphs import export, graph
from optimization.measuring import evaluate
from optimization.networks import models
from optimization.readers import data
from optimization.recipe import recipe
from optimization.recipe.architectures import Mlp
from optimization.report import cascade as shown
from optimization.report import terminal

MAX_LOSS = 0.05


@pytest.fixture(scope="module")
def wanted(digits_recipe):
    return recipe.parse(digits_recipe.model_dump(mode="json") | {"data": {"kind": "digits", "validation": 0.4}})


@pytest.fixture(scope="module")
def dataset(wanted):
    return data.load(wanted.data, wanted.seed)


@pytest.fixture(scope="module")
def files(dataset, tmp_path_factory):
    """A student that knows the upper half of a digit, and a teacher, trained on the same examples."""
    folder = tmp_path_factory.mktemp("models")

    def train(name, hidden, steps, scale):
        model = models.build(Mlp(kind="mlp", hidden=hidden), dataset, 0)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        inputs, labels = torch.from_numpy(dataset.train.inputs["pixels"]), torch.from_numpy(dataset.train.labels)
        for _ in range(steps):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        with torch.no_grad():
            list(model.parameters())[-2].mul_(scale)  # too sure of itself, as trained networks are
        export.export(model.eval(), folder / name, dataset.train, task=dataset.task)
        return folder / name

    return {"student": train("student", (6,), 60, 3), "teacher": train("teacher", (64,), 120, 1)}


@pytest.fixture(scope="module")
def publishing(files, wanted, dataset):
    """Publishes one of the two in a folder."""

    def publish(root, which, **fields):
        model = graph.read(files[which])
        about = {
            "recipe": wanted.model_dump(mode="json") if which == "student" else None,
            "labels": dataset.labels,
            "inputs": graph.inputs(model),
            "outputs": graph.outputs(model, "probabilities"),
            "task": "classification",
        }
        name = "digits" if which == "student" else "digits-teacher"
        return store.publish(root, {store.MODEL: files[which]}, name=name, **about | fields)

    return publish


@pytest.fixture
def artifact(publishing, tmp_path):
    """Publishes one of the two, for one test."""
    return partial(publishing, tmp_path)


@pytest.fixture(scope="module")
def measured(publishing, tmp_path_factory):
    """The student, its teacher and the cascade that is made of them."""
    student, teacher = (publishing(tmp_path_factory.mktemp("root"), which) for which in ("student", "teacher"))
    return student, teacher, calibrate.calibrate(student, teacher, max_loss=MAX_LOSS, confidence=0.95)


def test_the_next_version_says_when_it_is_sure_and_is_otherwise_the_same(measured, dataset):
    student, _, made = measured
    assert made.path == student.path.parent / "2"
    assert store.load(made.path).manifest == made.manifest
    assert made.manifest.files[store.MODEL] == student.manifest.files[store.MODEL]
    page = (made.path / store.REPORT).read_bytes()
    assert made.manifest.files[store.REPORT].sha256 == hashlib.sha256(page).hexdigest()
    assert b"<h2>Cascade</h2>" in page
    changed = {"version", "created", "files", "cascade"}
    assert made.manifest.model_dump(exclude=changed) == student.manifest.model_dump(exclude=changed)
    found = made.manifest.cascade
    assert found.teacher == "digits-teacher/1"
    assert found.num_temperature + found.num_samples == len(dataset.validation)
    assert found.temperature > 1
    assert found.bound <= MAX_LOSS
    assert found.bound == threshold.upper_bound(found.num_lost, found.num_samples, 0.95)


def test_what_is_reported_of_held_out_examples_is_what_following_it_gives(measured, dataset):
    student, teacher, made = measured
    found = made.manifest.cascade
    held_out, task = dataset.held_out, dataset.task
    own, other = (evaluate.predict(each.model_path, held_out, task, "probabilities") for each in (student, teacher))
    sure = found.sure(own)
    right = np.where(sure, own.argmax(axis=1), other.argmax(axis=1)) == held_out.labels
    told = found.held_out
    assert told.cascade.value == right.mean()
    assert told.sent.value == (~sure).mean()
    assert told.student.value < told.cascade.value
    assert 0 < told.sent.value < 1
    assert told.drop.value == pytest.approx(told.teacher.value - told.cascade.value)
    assert told.drop.value <= told.lost.value
    assert told.sent.low < told.sent.value < told.sent.high
    shares = [each.share_sent for each in told.curve]
    assert shares == sorted(shares)
    assert (shares[0], told.curve[0].accuracy) == (0, told.student.value)
    assert (shares[-1], told.curve[-1].accuracy) == (1, told.teacher.value)


def test_the_table_has_three_columns_and_its_sentences_the_budget(measured):
    _, _, made = measured
    console = Console(file=io.StringIO(), width=80)
    shown.show(console, made)
    text = console.file.getvalue()
    table = text[: text.index("sure from")]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "…" not in table
    assert "student" in table
    for words in ("at most 5 points lost", "with 95 % confidence", "held out (", "expected times as fast"):
        assert words in text
    assert any(line.startswith("cascade: digits-teacher/1 answers") for line in terminal.statements(made.manifest))


def test_too_few_examples_are_counted_against_those_that_are_needed(artifact):
    student, teacher = artifact("student"), artifact("teacher")
    with pytest.raises(CascadeError, match=r"must be 3,99\d validation examples .* 0\.1 points .* got \d+: .* at best"):
        calibrate.calibrate(student, teacher, max_loss=0.001, confidence=0.95)
    assert store.versions(student.path.parents[1], "digits") == [1]


def test_a_budget_that_no_threshold_keeps_is_refused(artifact, dataset, monkeypatch):
    student, teacher = artifact("student"), artifact("teacher")
    monkeypatch.setattr(cascade, "confidence", lambda logits, _: np.ones(len(logits)))  # it cannot tell what it knows
    with pytest.raises(CascadeError, match="no threshold keeps a loss of at most 2 points"):
        calibrate.calibrate(student, teacher, max_loss=0.02, confidence=0.95)


@pytest.mark.parametrize(
    ("which", "fields", "message"),
    [
        ("labels", {"labels": tuple("9876543210")}, "the same classes in the same order"),
        ("task", {"task": "text_pairs"}, "two classifiers, got digits-teacher 1: text_pairs"),
        ("form", "logits", "both must give logits or both probabilities"),
        ("preparation", {"preprocessing": TextPreprocessing(max_length=8)}, "same tensors of raw input"),
    ],
)
def test_what_makes_no_cascade_is_refused(artifact, files, which, fields, message):
    student = artifact("student")
    if which == "form":
        outputs = graph.outputs(graph.read(files["teacher"]), "probabilities")
        fields = {"outputs": (outputs[0].model_copy(update={"meaning": "logits"}),)}
    with pytest.raises(CascadeError, match=message):
        calibrate.calibrate(student, artifact("teacher", **fields), max_loss=MAX_LOSS, confidence=0.95)


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"max_loss": 0.0}, r"--max-loss must lie in \(0, 100\)"), ({"confidence": 1.0}, r"--confidence must lie in")],
)
def test_settings_out_of_their_range_are_refused(artifact, asked, message):
    student, teacher = artifact("student"), artifact("teacher")
    with pytest.raises(CascadeError, match=message):
        calibrate.calibrate(student, teacher, **{"max_loss": MAX_LOSS, "confidence": 0.95} | asked)
    with pytest.raises(CascadeError, match="twice"):
        calibrate.calibrate(student, student, max_loss=MAX_LOSS, confidence=0.95)


def test_models_of_no_recipe_take_the_data_of_the_one_that_is_named(artifact, wanted):
    student, teacher = artifact("student", recipe=None), artifact("teacher")
    with pytest.raises(CompareError, match="must come from a recipe"):
        calibrate.calibrate(student, teacher, max_loss=MAX_LOSS, confidence=0.95)
    made = calibrate.calibrate(student, teacher, max_loss=MAX_LOSS, confidence=0.95, wanted=wanted)
    assert made.manifest.cascade is not None


def test_the_command_publishes_and_says_where(artifact, capsys):
    student, teacher = artifact("student"), artifact("teacher")
    assert __main__.main(["cascade", str(student.path), str(teacher.path), "--max-loss", "5"]) == 0
    assert str(student.path.parent / "2") in capsys.readouterr().out.replace("\n", "")
    assert __main__.main(["cascade", str(student.path), str(teacher.path), "--max-loss", "0.1"]) == 2
    assert "validation examples" in capsys.readouterr().err


def test_classes_of_the_data_are_brought_in_the_order_of_the_models(artifact, measured, dataset, monkeypatch):
    student, teacher = artifact("student"), artifact("teacher")
    usual = measured[2].manifest.cascade
    turned = dataset.labels[::-1]

    def other_order(*_):
        def moved(split):
            return replace(split, labels=9 - split.labels)

        return replace(
            dataset,
            labels=turned,
            train=moved(dataset.train),
            validation=moved(dataset.validation),
            held_out=moved(dataset.held_out),
        )

    monkeypatch.setattr(data, "load", other_order)
    found = calibrate.calibrate(student, teacher, max_loss=MAX_LOSS, confidence=0.95).manifest.cascade
    assert found.held_out == usual.held_out
