"""Words have classes: which token is labelled, what counts as an entity, and what padding adds."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from optimization.errors import DataError
from optimization.measuring import entities, judging, measures
from optimization.readers import tables, tokens
from optimization.recipe import recipe, sources
from optimization.recipe.settings import MeasureChoice
from optimization.running import run
from optimization.tasks import by_token
from optimization.tasks.named import TASKS
from tests.optimization.tasks import texts
from tests.optimization.tasks.test_all import RECIPE

TASK = TASKS["token_classification"].named(texts.TAGS)


def test_the_first_token_of_each_word_is_labelled() -> None:
    """w1-w2 are three tokens of one word, and a sign stands before each text."""
    labels = TASK.encode([["O", "B-NAME"], ["O"]], texts.TAGS)
    split = tokens.encode([["w1-w2", "w3"], ["w4"]], labels, texts.tokenizer())
    assert split.labels.tolist() == [[-1, 2, -1, -1, 0], [-1, 2, by_token.PADDING, by_token.PADDING, by_token.PADDING]]
    assert split.texts is not None and split.texts.tolist() == ["w1-w2 w3", "w4"]


def test_words_that_are_cut_off_have_no_label() -> None:
    cutting = texts.tokenizer()
    cutting.enable_truncation(3)
    split = tokens.encode(["w1 w2 w3"], TASK.encode(["O O O"], texts.TAGS), cutting)
    assert split.labels.tolist() == [[-1, 2, 2]]


@pytest.mark.parametrize(
    ("words", "labels", "message"),
    [
        (["w1 w2"], ["O"], r"a label for each of its words, got 2 words and 1 labels in row 0"),
        ([["w1"], []], [["O"], []], r"at least one word, got none in row 1"),
        (["w1"], ["B-PLACE"], r"must be among \['B-NAME', 'I-NAME', 'O'\].*got 'B-PLACE' in row 0"),
    ],
)
def test_words_without_a_label_of_their_own_are_refused(words: list[Any], labels: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tokens.encode(words, TASK.encode(labels, texts.TAGS), texts.tokenizer())


def test_a_table_of_words_is_read_as_lists_or_as_texts(tmp_path: Any) -> None:
    path = tmp_path / "tokenizer.json"
    texts.tokenizer().save(str(path))
    config = sources.Table(
        kind="table", train="x", task="token_classification", text="words", tokenizer=str(path), held_out=0.25
    )
    columns = {"words": [["w1", "w2"], ["w3"]] * 8, "label": [["B-NAME", "I-NAME"], ["O"]] * 8}
    spaced = {name: [" ".join(each) for each in column] for name, column in columns.items()}
    found, same = (tables.dataset(config, pd.DataFrame(each), {}, 0) for each in (columns, spaced))
    assert found.task == TASK
    assert found.labels == texts.TAGS
    np.testing.assert_array_equal(found.train.labels, same.train.labels)
    np.testing.assert_array_equal(found.train.inputs["input_ids"], same.train.inputs["input_ids"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("B-A I-A O", {("A", 0, 2)}),
        ("I-A I-A B-A", {("A", 0, 2), ("A", 2, 3)}),
        ("B-A I-B", {("A", 0, 1), ("B", 1, 2)}),
        ("S-A E-A B-A E-A I-A", {("A", 0, 1), ("A", 1, 2), ("A", 2, 4), ("A", 4, 5)}),
        ("U-A B-A L-A", {("A", 0, 1), ("A", 1, 3)}),
        ("NOUN B O X-A", set()),
    ],
)
def test_entities_are_those_of_conlleval(labels: str, expected: set[entities.Entity]) -> None:
    """The first four as seqeval 1.2.2 gives them."""
    assert entities.entities(labels.split()) == expected


def test_entity_f1_is_of_all_texts_together_and_drawn_by_texts() -> None:
    """Of 3 entities 2 are found, with 1 that is none: 2 * 2 / (3 + 3)."""
    labels = TASK.encode(["B-NAME I-NAME O", "B-NAME B-NAME O"], texts.TAGS)
    answers = TASK.encode(["B-NAME I-NAME O", "B-NAME O B-NAME"], texts.TAGS)
    read = TASK.ideal(answers, 3)
    measure = measures.find(None, TASK)
    judged = judging.judge(measure, TASK, read, labels)
    assert judged.value == pytest.approx(2 / 3)
    assert judged.quality().low == pytest.approx(0.5)
    assert judged.quality().high == 1
    share = measures.find(MeasureChoice(name="token_accuracy"), TASK)
    assert share.of(TASK, read, labels) == pytest.approx(4 / 6)


def test_entities_of_data_without_any_are_refused_before_training(tmp_path: Any) -> None:
    dataset = texts.named_words(tmp_path, 40)
    plain = replace(dataset, labels=("NOUN", "VERB", "X"), task=TASK.named(("NOUN", "VERB", "X")))
    with pytest.raises(DataError, match="entity_f1 must be defined on the held-out examples, got: no label begins an"):
        run.measured_by(recipe.parse(RECIPE), plain)
    assert (
        run.measured_by(recipe.parse({**RECIPE, "measure": "token_accuracy"}), plain).measure.name == "token_accuracy"
    )


def test_padding_adds_nothing_to_losses_and_changes_no_answer(random: np.random.Generator) -> None:
    """The same two texts with three tokens of padding more, whatever the model gives there."""
    labels = torch.tensor([[-1, 0, 2, -1], [-1, 1, -2, -2]])
    logits, taught = (torch.from_numpy(random.normal(size=(2, 4, 3))) for _ in range(2))
    wide = [torch.cat([each, torch.from_numpy(random.normal(size=(2, 3, 3)))], dim=1) for each in (logits, taught)]
    padded = torch.cat([labels, torch.full((2, 3), -2)], dim=1)
    torch.testing.assert_close(TASK.hard_loss(wide[0], padded), TASK.hard_loss(logits, labels))
    expected = nn.functional.cross_entropy(logits[0, 1:3], labels[0, 1:3])
    torch.testing.assert_close(TASK.hard_loss(logits, padded)[0], expected)
    for kind in ("kl", "mse"):
        torch.testing.assert_close(
            TASK.soft_loss(*wide, padded, 2.0, kind), TASK.soft_loss(logits, taught, labels, 2.0, kind)
        )
    served = TASK.served(texts.OfTokens(4, 3))
    ids, mask = torch.tensor([[4, 5, 6, 7]]), torch.tensor([[1, 1, 1, 0]])
    assert not served(ids, mask)[0, 3].any()
    torch.testing.assert_close(served(ids, mask)[:, :3], served(ids[:, :3], mask[:, :3]))
    filled = np.pad(served(ids, mask).detach().numpy(), ((0, 0), (0, 2), (0, 0)))
    one, other = (TASK.read(each, "logits") for each in (filled, filled))
    assert TASK.divergence(one, other).tolist() == [0]
