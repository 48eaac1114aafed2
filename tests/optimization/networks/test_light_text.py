"""Students without attention, whose embeddings are their teacher's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
import yaml
from torch import nn

from optimization.errors import RecipeError
from optimization.graphs import export
from optimization.measuring import evaluate
from optimization.networks import light_text
from optimization.quantization import quantize
from optimization.readers.examples import Dataset, Split
from optimization.recipe import recipe
from optimization.recipe.architectures import BagOfNgrams, TextCnn
from tests.optimization.conftest import RECIPES

CNN = TextCnn(kind="text_cnn", dim=8, channels=16, layers=2, dropout=0)
BAG = BagOfNgrams(kind="bag_of_ngrams", dim=8, longest=3, buckets=50, dropout=0)


class Reader(nn.Module):
    """A teacher by import path: embeddings of 12 numbers for 30 tokens, the greatest of its tables."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(6, 12)
        self.tokens = nn.Embedding(30, 12)


def texts(num: int = 40) -> Dataset:
    """Tokens of 1 to 6 places; the later ones of the vocabulary come more often."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 7, num)
    mask = (np.arange(6) < lengths[:, None]).astype(np.int64)
    ids = np.sort(random.integers(1, 30, (num, 6, 2)), axis=2)[:, :, 1] * mask
    split = Split(inputs={"input_ids": ids, "attention_mask": mask}, labels=ids[:, 0] % 2, lengths=lengths)
    return Dataset(train=split, validation=split, held_out=split, labels=("even", "odd"))


def student(config: TextCnn | BagOfNgrams, **changes: Any) -> nn.Module:
    """The student of a `Reader`, n-grams at random in the place of zeros."""
    torch.manual_seed(0)
    made = light_text.build(config.model_copy(update=changes), Reader(), texts(), seed=0)
    if isinstance(made, light_text.BagOfNgrams):
        nn.init.normal_(made.ngrams.weight)
    return made.eval()


@pytest.mark.parametrize("config", [CNN, BAG], ids=["cnn", "bag"])
def test_padding_counts_nothing(config: TextCnn | BagOfNgrams) -> None:
    model, ids = student(config), torch.tensor([[3, 9, 4, 7]])
    alone = model(ids, torch.ones(1, 4, dtype=torch.int64))
    padded = model(torch.tensor([[3, 9, 4, 7, 0, 0], [5] * 6]), torch.tensor([[1] * 4 + [0] * 2, [1] * 6]))
    torch.testing.assert_close(padded[:1], alone)


@pytest.mark.parametrize("config", [CNN, BAG], ids=["cnn", "bag"])
def test_order_counts_unless_tokens_are_seen_alone(config: TextCnn | BagOfNgrams) -> None:
    def apart(model: nn.Module) -> float:
        first, other = (
            model(torch.tensor([ids]), torch.ones(1, 3, dtype=torch.int64)) for ids in ([3, 9, 4], [4, 9, 3])
        )
        return float((first - other).detach().abs().max())

    blind = student(config, kernel=1) if isinstance(config, TextCnn) else student(config, longest=1)
    assert apart(student(config)) > 1e-3
    assert apart(blind) < 1e-6


def test_all_of_an_ngram_lies_in_its_text() -> None:
    """Of three tokens there are two of two and one of three: six embeddings whose mean is taken."""
    model = student(BAG, longest=3)
    assert isinstance(model, light_text.BagOfNgrams)
    ids, mask = torch.tensor([[3, 9, 4, 0]]), torch.tensor([[1.0, 1, 1, 0]])
    assert [whole.sum().item() for _, whole in model._hashed(ids, mask)] == [2, 1]


def test_as_many_numbers_as_the_teacher_has_keep_its_angles() -> None:
    table = Reader().tokens.weight.detach()
    own, turned = (F.normalize(each) for each in (table, light_text.narrowed(table, texts().train, 12)))
    torch.testing.assert_close(turned @ turned.T, own @ own.T, atol=1e-4, rtol=1e-4)


def test_fewer_numbers_keep_more_of_the_frequent_tokens() -> None:
    """As one number a token, a table of two directions keeps that of the tokens that come."""
    table = torch.zeros(30, 12)
    table[1:15, 0], table[15:, 1] = 1.0, -1.0  # the later ones come more often
    narrow = light_text.narrowed(table, texts().train, 1)
    assert narrow[15:].abs().min() > 0.5
    assert narrow[:15].abs().max() < 1e-5


def test_tokens_that_are_not_kept_are_read_as_the_kept_one_most_alike() -> None:
    model = student(CNN, vocabulary=5)
    assert isinstance(model, light_text.TextCnn)
    assert model.tokens.embedding.weight.shape == (5, 8)
    assert model.tokens(torch.arange(30)).shape == (30, 8)


@pytest.mark.parametrize(
    ("teacher", "dim", "told"),
    [
        (Reader(), 13, "distill.student.dim must be at most the teacher's 12, whose embeddings are taken, got 13"),
        (nn.Linear(2, 2), 8, "distill.student takes its teacher's embeddings of tokens, got a teacher that has none"),
    ],
    ids=["too wide", "no text"],
)
def test_a_teacher_that_has_no_such_embeddings_is_refused(teacher: nn.Module, dim: int, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        light_text.build(CNN.model_copy(update={"dim": dim}), teacher, texts(), seed=0)


@pytest.mark.parametrize("config", [CNN, BAG], ids=["cnn", "bag"])
def test_onnx_computes_what_torch_does_and_int8_nearly(config: TextCnn | BagOfNgrams, tmp_path: Path) -> None:
    dataset, model = texts(), student(config, vocabulary=20)
    path, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export.export(model, path, dataset.train, task=dataset.task)
    export.parity(model, path, dataset.train, task=dataset.task, seed=0)
    quantize.quantize(path, int8, (), method="dynamic")
    whole, rounded = (evaluate.predict(each, dataset.train, dataset.task, "logits") for each in (path, int8))
    assert float(np.abs(whole - rounded).max()) < 0.05


@pytest.mark.parametrize("config", [CNN, BAG], ids=["cnn", "bag"])
def test_pruning_it_is_refused_before_anything_is_trained(config: TextCnn | BagOfNgrams) -> None:
    raw = yaml.safe_load((RECIPES / "sentiment.yaml").read_text())
    recovery = {"epochs": 1}
    raw["steps"][0]["student"] = config.model_dump()
    raw["steps"].insert(1, {"kind": "prune", "ratio": 0.5, "recovery": recovery})
    with pytest.raises(RecipeError, match=f"steps must not prune a {config.kind}, which is made as narrow as is want"):
        recipe.parse(raw)
    raw["steps"][1] = {"kind": "sparsify", "ratio": 0.5, "recovery": recovery}
    recipe.parse(raw)
