"""Encoder-decoders against Hugging Face's own: loss, layers, the exported step and what is written with it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from optimization.distillation.targets import distillation_loss
from optimization.errors import RecipeError
from optimization.graphs.export import tensors
from optimization.readers.examples import Split
from optimization.recipe.methods import Training
from optimization.recipe.recipe import kind_of_data
from optimization.sequences import export, greedy, models, pairs, recipe, writing
from optimization.tasks.task import UNLABELLED
from optimization.tasks.text_pairs import TextPairs
from optimization.training import loop
from optimization.training.job import Job
from optimization.training.loop import Place
from tests.optimization.sequences.toys import SPECIAL, model
from tests.optimization.training.test_loop import Silent

READ = [[4, 5, 6, 7, 1], [9, 1], [12, 13, 5, 1], [8, 8, 1]]
WORDS = [[7, 6, 5, 4, 1], [9, 1], [5, 13, 12, 1], [8, 1]]


@pytest.fixture
def split() -> Split:
    return pairs.encode(READ, WORDS, SPECIAL)


@pytest.mark.parametrize("row", range(4))
def test_loss_of_a_text_is_transformers_own(split: Split, row: int) -> None:
    ours, rows = model("t5"), np.array([row])
    with torch.inference_mode():
        logits = ours(*tensors(split.batch(rows)))
        expected = ours.body(input_ids=torch.tensor([READ[row]]), labels=torch.tensor([WORDS[row]])).loss
        loss = TextPairs().hard_loss(logits, torch.from_numpy(split.labels[rows]))
    torch.testing.assert_close(loss[0], expected)


def test_padding_teaches_nothing(split: Split) -> None:
    """A text has the same loss alone and beside a longer one, of its words and of the teacher's distributions."""
    student, teacher = model("t5"), model("t5", seed=1)
    together, alone = np.arange(4), np.array([1])
    with torch.inference_mode():
        losses = [
            distillation_loss(
                TextPairs(),
                student(*tensors(split.batch(rows))),
                torch.from_numpy(split.labels[rows]),
                teacher(*tensors(split.batch(rows))),
                2.0,
                0.5,
            )
            for rows in (together, alone)
        ]
    torch.testing.assert_close(losses[0][1], losses[1][0])


@pytest.mark.parametrize("kind", ["t5", "bart", "marian"])
def test_student_of_all_layers_is_the_teacher(split: Split, kind: str) -> None:
    teacher = model(kind)
    student = models.from_layers(teacher, (0, 1), (0, 1))
    batch = tensors(split.batch(np.arange(4)))
    with torch.inference_mode():
        torch.testing.assert_close(student(*batch), teacher(*batch))


@pytest.mark.parametrize("kind", ["t5", "bart", "marian"])
def test_student_of_one_layer_has_that_layers_weights(kind: str) -> None:
    teacher = model(kind)
    student = models.from_layers(teacher, (1,), (1,))
    stacks = [
        dict(each.body.get_decoder().named_modules())["block" if kind == "t5" else "layers"]
        for each in (teacher, student)
    ]
    kept, made = stacks[0][1].state_dict(), stacks[1][0].state_dict()
    assert len(stacks[1]) == 1
    for name, weight in kept.items():
        torch.testing.assert_close(made[name], weight)


def test_layer_that_the_teacher_lacks_is_named() -> None:
    with pytest.raises(RecipeError, match=r"distill\.student\.decoder must name layers in \[0, 2\), got 2"):
        models.from_layers(model("t5"), (0,), (0, 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t5", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("bart", "marian"))])
def test_exported_step_writes_what_transformers_writes(
    split: Split, exported: Callable[[str], tuple[models.Seq2Seq, Path]], kind: str
) -> None:
    """Greedily, word for word; the logits of the step are torch's, after nothing and after many words."""
    ours, path = exported(kind)
    assert export.parity(ours, path, split, seed=0) <= 1e-4
    wanted = writing.write(ours, split, beams=1, max_length=8)
    session = greedy.graph.session(path)
    for row in range(4):
        words = greedy.write(session, split.batch(np.array([row])), SPECIAL.end, 7)[0].tolist()
        expected = [word for word in wanted[row].tolist() if word not in (UNLABELLED, SPECIAL.end)]
        assert words == [*expected, *[SPECIAL.end] * (7 - len(expected))]


def test_training_goes_on_from_a_checkpoint_though_weights_are_tied(split: Split) -> None:
    """T5 reads and writes with one table; whole weights come back to the driver."""
    job = Job(step="teacher", model=model("t5"), training=Training(epochs=2, batch_size=2), seed=0, task=TextPairs())
    first, _, last = loop.fit(job, split, Silent(), Place())
    again = replace(job, model=model("t5"), saved=first.checkpoint)
    *_, resumed = loop.fit(again, split, Silent(), Place())
    assert last.weights is not None
    assert resumed.weights is not None
    fresh = model("t5", seed=1)
    fresh.load_state_dict(last.weights)
    torch.testing.assert_close(dict(fresh.state_dict()), dict(job.model.state_dict()))
    torch.testing.assert_close(resumed.weights, last.weights)


def test_scores_are_those_of_perfect_and_of_other_texts() -> None:
    texts = ["one two three four five", "six seven eight nine ten"]
    assert greedy.scores(texts, texts) == {"BLEU": pytest.approx(100), "chrF": pytest.approx(100)}
    assert greedy.scores(["a", "b"], texts)["BLEU"] < 1


def test_what_was_written_becomes_what_is_to_be_written(split: Split) -> None:
    answers = pairs.padded([[5, 1], [6, 7, 1], [1], [8, 1]], 6, UNLABELLED)
    taught = pairs.rewritten(split, answers, SPECIAL)
    assert [row[row != UNLABELLED].tolist() for row in taught.labels] == [[5, 1], [6, 7, 1], [1], [8, 1]]
    np.testing.assert_array_equal(taught.inputs["input_ids"][0, :5], READ[0])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"steps": [{"kind": "prune"}]}, r"kind must be one of distill, quantize, got 'prune'"),
        (
            {"data": {"kind": "pairs", "train": "none.csv", "tokenizer": "t"}},
            r"data\.train must exist, got 'none\.csv'",
        ),
        ({"steps": []}, r"steps must be distill, quantize, or one after the other"),
    ],
)
def test_bad_recipe_is_told_before_anything_runs(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    (tmp_path / "pairs.csv").touch()
    raw = {
        "name": "toy",
        "data": {"kind": "pairs", "train": str(tmp_path / "pairs.csv"), "tokenizer": "t"},
        "teacher": {"model": {"kind": "huggingface", "name": "t5"}},
        "steps": [{"kind": "quantize"}],
    }
    assert kind_of_data(raw) == "pairs"
    recipe.parse(raw)
    with pytest.raises(RecipeError, match=problem):
        recipe.parse(raw | change)
