"""`init` writes a recipe that runs, of a model and data that are there; what it cannot know it asks."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import tokenizers
import yaml
from onnx import TensorProto, helper, numpy_helper

from optimization.__main__ import main
from optimization.artifact import store
from optimization.drafting import columns, lengths, student
from optimization.drafting.compose import Asked, compose
from optimization.errors import DataError, OptimizationError, RecipeError
from optimization.recipe import recipe
from tests.optimization.networks.test_own_head import fine_tuned

WORDS = {"pos": ("good", "great"), "neg": ("bad", "awful")}
OTHERS = ("the", "film", "is", "a", "plot", "and")


def reviews(num: int = 80) -> pd.DataFrame:
    """Texts of one class that have a word which those of the other lack."""
    draw = random.Random(0)
    labels = [("pos", "neg")[row % 2] for row in range(num)]
    texts = [" ".join([*draw.choices(OTHERS, k=draw.randint(4, 9)), draw.choice(WORDS[each])]) for each in labels]
    return pd.DataFrame({"id": range(num), "label": labels, "review": texts})


def tokenizer(folder: Path) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, *OTHERS, *WORDS["pos"], *WORDS["neg"]]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with a classifier of two classes, `model`, and `reviews.csv`."""
    folder = tmp_path_factory.mktemp("init")
    fine_tuned(folder / "model", labels=("NEG", "POS"), num_hidden_layers=2)
    tokenizer(folder / "model")
    reviews().to_csv(folder / "reviews.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def asked(here: Path) -> Asked:
    return Asked(model="model", data=Path("reviews.csv"))


def test_a_classifier_and_a_csv_give_a_recipe_that_was_built_once(asked: Asked) -> None:
    """Columns, classes, lengths and layers are found; the YAML has a comment beside each choice."""
    made = compose(asked)
    assert recipe.parse(yaml.safe_load(made.text)) == made.recipe
    said = yaml.safe_load(made.text)
    assert {name: said["data"][name] for name in ("text", "label", "task", "tokenizer", "max_length")} == {
        "text": "review", "label": "label", "task": "classification", "tokenizer": "model", "max_length": 16,
    }  # fmt: skip
    assert said["teacher"] == {"model": {"kind": "huggingface", "name": "model"}, "publish": True}
    assert [step["kind"] for step in said["steps"]] == ["distill", "quantize"]
    assert said["steps"][0]["student"] | {"dropout": 0} == {
        "kind": "teacher_layers", "keep": [0], "feed_forward": student.FEED_FORWARD, "dropout": 0,
    }  # fmt: skip
    assert made.dataset.labels == ("NEG", "POS"), "in the order of the model's outputs"
    choices = [line for line in made.text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert sum("#" in line for line in choices) > len(choices) / 2


def test_columns_files_and_classes_may_have_names_that_yaml_reads_otherwise(here: Path) -> None:
    """`no` is not false, a colon makes no mapping, and what the data call 0 and 1 are the model's classes."""
    odd = reviews().rename(columns={"label": "no", "review": "the: text"})
    odd.assign(no=odd["no"].map({"neg": 0, "pos": 1})).to_csv(here / "odd # 1.csv", index=False)
    made = compose(Asked(model="model", data=Path("odd # 1.csv"), name="odd", labels=("0", "1")))
    said = yaml.safe_load(made.text)
    assert (said["data"]["train"], said["data"]["label"], said["data"]["text"]) == ("odd # 1.csv", "no", "the: text")
    assert said["teacher"]["model"]["labels"] == ["0", "1"]
    assert made.dataset.labels == ("0", "1")


@pytest.mark.parametrize(
    ("changed", "said", "message"),
    [
        ({"title": "review"}, {}, r"--text must say which column .* could be 'review', 'title'"),
        ({"stars": "label"}, {}, r"--label must say which column .* could be 'label', 'stars'"),
        ({}, {"text": "body"}, "--text must be one of the columns 'id', 'label', 'review', got 'body'"),
        ({}, {"label": "id"}, r"the labels must be the model's classes, .* \['NEG', 'POS'\] in this order, got \['0'"),
        ({"label": lambda each: each["label"].map({"neg": 0, "pos": 1})}, {}, r"such as --labels 0,1 if that is"),
        ({}, {"labels": ("bad", "good")}, r"got --labels bad,good and \['neg', 'pos'\]"),
        ({"label": "pos"}, {"label": "label"}, "column 'label' must name at least 2 classes, got"),
        ({"label": lambda each: each["label"].where(each["id"] != 7, "")}, {}, "a label in every row, got .* in row 7"),
        ({}, {"data": Path("none.csv")}, "--data must be a CSV.* got no none.csv"),
        ({}, {"model": "./none"}, "model.name must be a hub name or a folder with config.json, got './none'"),
        ({}, {"model": "data.csv"}, "MODEL must be a folder, a hub name, or a file that ends in .onnx"),
    ],
)
def test_what_is_not_clear_or_does_not_fit_is_named(
    changed: dict[str, Any], said: dict[str, Any], message: str, here: Path
) -> None:
    """In words of the command line, before anything is built."""
    frame = reviews()
    for name, column in changed.items():
        frame[name] = column(frame) if callable(column) else frame.get(column, column)
    frame.to_csv(here / "data.csv", index=False)
    with pytest.raises(OptimizationError, match=message):
        compose(Asked(**{"model": "model", "data": Path("data.csv")} | said))


@pytest.mark.parametrize(
    ("task", "labels", "expected"),
    [
        ("classification", ["a", "b"] * 20, "y"),
        ("regression", [0.5, 1.25] * 20, "y"),
        ("multi_label", ["a|b", "b"] * 20, "y"),
    ],
)
def test_the_only_column_that_can_be_the_label_is_taken(task: Any, labels: list[Any], expected: str) -> None:
    frame = pd.DataFrame({"text": [f"text {row}" for row in range(40)], "y": labels})
    assert columns.label(frame, None, "text", task, ()) == expected


def test_of_two_columns_the_one_with_the_model_s_classes_is_the_label() -> None:
    frame = pd.DataFrame({"genre": ["a", "b"] * 20, "verdict": ["POS", "neg"] * 20})
    assert columns.label(frame, None, None, "classification", ("neg", "pos")) == "verdict"
    with pytest.raises(DataError, match="could be 'genre', 'verdict'"):
        columns.label(frame, None, None, "classification", ("LABEL_0", "LABEL_1"))


def test_texts_are_cut_behind_all_but_the_longest_few(here: Path) -> None:
    plain = tokenizers.Tokenizer.from_file(str(here / "model" / "tokenizer.json"))
    texts = ["film " * 10] * 5000 + ["film " * 400] * 3
    found = lengths.measure(texts, plain, most=512)
    assert (found.median, found.longest, found.max_length, found.num_cut) == (12, 402, 16, 3)
    assert lengths.measure(texts[-3:], plain, most=64).max_length == 64, "a model takes no more"


@pytest.mark.parametrize(("num", "kept"), [(1, (0,)), (2, (0,)), (6, (0, 2, 5)), (12, (0, 2, 4, 7, 9, 11))])
def test_half_of_the_layers_are_kept_from_first_to_last(num: int, kept: tuple[int, ...]) -> None:
    assert student.spread(num) == kept


def classifier(path: Path, last: str | None = "Softmax") -> None:
    """A graph of two classes over three numbers."""
    nodes = [helper.make_node("MatMul", ["features", "w"], ["logits"])]
    if last is not None:
        nodes.append(helper.make_node(last, ["logits"], ["probabilities"]))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("logits" if last is None else "probabilities", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def numbers(path: Path) -> Path:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(60, 3)), columns=["a", "b", "c"])
    frame.assign(label=np.arange(60) % 2).to_json(path, orient="records", lines=True)
    return path


def test_an_onnx_file_is_quantized_and_asked_what_it_gives(tmp_path: Path) -> None:
    model, data = tmp_path / "model.onnx", numbers(tmp_path / "numbers.jsonl")
    classifier(model)
    made = compose(Asked(model=str(model), data=data))
    assert [step.kind for step in made.recipe.steps] == ["quantize"]
    assert made.recipe.teacher.onnx == str(model)
    classifier(model, last=None)
    with pytest.raises(
        RecipeError, match=r"teacher\.output must be logits or probabilities: the graph of .* ends in no"
    ):
        compose(Asked(model=str(model), data=data))
    assert compose(Asked(model=str(model), data=data, output="logits")).recipe.teacher.output == "logits"


def test_a_recipe_that_is_there_is_not_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.yaml").write_text("name: mine\n")
    assert main(["init", "model", "--data", "reviews.csv", "--output", "mine.yaml"]) == 2
    assert "--output must be a free name, got mine.yaml" in capsys.readouterr().err
    assert (here / "mine.yaml").read_text() == "name: mine\n"


@pytest.mark.long
def test_what_init_wrote_becomes_an_artifact(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the command line from end to end: init tells the time, and run publishes teacher and student."""
    assert main(["init", "model", "--data", "reviews.csv", "--output", "made.yaml", "--name", "made"]) == 0
    said = capsys.readouterr().out
    assert "distill" in said
    assert "min in all" in said or " s in all" in said
    assert main(["made.yaml"]) == 0
    made = store.load(here / "artifacts/made/1").manifest
    assert made.labels == ("NEG", "POS")
    assert [each.step for each in made.measurements][:3] == ["teacher", "control", "distill"]
    assert json.loads((here / "artifacts/made/1/example.json").read_text())
    assert made.parent == "made-teacher/1"
