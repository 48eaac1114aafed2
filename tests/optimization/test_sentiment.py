from pathlib import Path

import numpy as np
import onnx
import pytest
import tokenizers
import yaml
from rich.console import Console

from optimization.graphs import graph
from optimization.readers import phrases, text
from optimization.readers.examples import Dataset
from optimization.recipe import recipe
from optimization.recipe.sources import Phrases
from optimization.report.phases import Phases
from optimization.running.shrink import shrink
from optimization.running.teach import teach
from optimization.running.workspace import Workspace
from optimization.training.alone import Alone
from tests.optimization.conftest import RECIPES
from tests.optimization.training.test_loop import Silent

transformers = pytest.importorskip("transformers")

GOOD, BAD, OTHER = ["fine", "great", "lovely"], ["dull", "poor", "sad"], ["a", "film", "and", "the", "plot"]


def reviews(num: int, random: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Texts of three to six words, one of which tells whether the film is liked."""
    labels = random.integers(0, 2, num)
    texts = []
    for label in labels:
        words = [str(random.choice(GOOD if label else BAD)), *map(str, random.choice(OTHER, random.integers(2, 6)))]
        texts.append(" ".join(random.permutation(words)))
    return texts, labels


@pytest.mark.slow
def test_the_shipped_recipe_makes_a_tiny_bert_smaller_and_keeps_what_it_knows(tmp_path: Path) -> None:
    """Embeddings go from 2,013 to 40, layers from six to three; phrases without a label are learned from as well."""
    random = np.random.default_rng(0)
    names = ["[PAD]", "[UNK]", *GOOD, *BAD, *OTHER, *(f"word{number}" for number in range(2000))]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({name: number for number, name in enumerate(names)}, "[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    transformers.BertConfig(
        vocab_size=len(names),
        hidden_size=32,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    ).save_pretrained(tmp_path)
    raw = yaml.safe_load((RECIPES / "sentiment.yaml").read_text())
    raw["teacher"]["model"] |= {"name": str(tmp_path), "pretrained": False}
    raw["teacher"]["training"] |= {"epochs": 4, "learning_rate": 0.002, "precision": "fp32"}
    raw["steps"][0]["student"]["vocabulary"] = 40
    raw["steps"][0]["training"] |= {"learning_rate": 0.002, "precision": "fp32"}
    train_split, validation, held_out = (text.encode(*reviews(num, random), tokenizer) for num in (256, 64, 128))
    files = {text.FILE: text.save(tokenizer, tmp_path)}
    dataset = Dataset(train=train_split, validation=validation, held_out=held_out, labels=("bad", "good"), files=files)
    dataset = phrases.extend(dataset, Phrases(num=64, joints=("and",)), seed=0)
    with Phases(Console(quiet=True)) as shown:
        workspace = Workspace(
            recipe=recipe.parse(raw),
            dataset=dataset,
            folder=tmp_path,
            trainer=Alone(dataset.train, Silent(), lambda _model: None),
            phases=shown,
        )
        shrink(workspace, teach(workspace))
    assert [each.step for each in workspace.candidates] == ["teacher", "control", "distill", "quantize"]
    teacher, _, student, int8 = (each.path for each in workspace.candidates)
    for path in (teacher, int8):
        predicted = graph.predict(graph.session(path), held_out.batch(np.arange(128)))[:, 0] > 0.5
        assert (predicted == held_out.labels).mean() > 0.95
    assert int8.stat().st_size < teacher.stat().st_size / 4
    shapes = {tuple(each.dims) for each in onnx.load(student).graph.initializer}
    assert (40, 32) in shapes and (len(names), 32) not in shapes
