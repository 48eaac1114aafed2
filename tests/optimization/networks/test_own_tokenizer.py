"""A tokenizer that is not the model's, and code that nobody asked for, are refused before anything is trained."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from optimization.errors import RecipeError
from optimization.networks import foreign_code, own_head, own_tokenizer
from optimization.readers import text
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import HuggingFaceModel
from tests.optimization.networks.test_own_head import texts, wanted

transformers = pytest.importorskip("transformers")


def words(path: Path, *, num: int = 40, order: int = 1, pad: int = 0, first: str = "[CLS]") -> Path:
    """A tokenizer of so many words, which pads with `pad` and begins each text with `first`."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *[f"word{number}" for number in range(num - 4)][::order]]
    known = {name: number for number, name in enumerate(names)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, unk_token="[UNK]"))
    ends = [(each, known[each]) for each in (first, "[SEP]")]
    made.post_processor = tokenizers.processors.TemplateProcessing(single=f"{first} $A [SEP]", special_tokens=ends)
    made.enable_padding(pad_id=pad, pad_token=names[pad])
    made.save(str(path))
    return path


def data(tokenizer: Path) -> Dataset:
    made = texts(("no", "yes"), num=8)
    made.files[text.FILE] = tokenizer
    return made


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"num": 41}, r"which has 40 tokens, got one with 'word36' as 40"),
        ({"pad": 1}, r"whose pad_token_id is 0, got 1"),
        ({"first": "[UNK]"}, r"whose cls_token_id is 2, got 1"),
        ({"order": -1}, r"where 'word0' is 4, got 39"),
    ],
    ids=["more tokens", "other padding", "other beginning", "other order"],
)
def test_a_tokenizer_that_is_not_the_model_s_is_refused(other: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = transformers.BertConfig(vocab_size=40, pad_token_id=0, cls_token_id=2, sep_token_id=3)
    config.save_pretrained(tmp_path)
    own = words(tmp_path / text.FILE)
    recipe = wanted(tmp_path)
    own_tokenizer.expect(recipe, data(own))
    with pytest.raises(RecipeError, match=f"data.tokenizer must be that of .*{message}"):
        own_tokenizer.expect(recipe, data(words(tmp_path / "other.json", **other)))


def toy(folder: Path) -> str:
    """A model of a class of its own, which says so when it is run."""
    own = {"AutoConfig": "toys.ToyConfig", "AutoModelForSequenceClassification": "toys.Toy"}
    config = {"model_type": "toy", "auto_map": own, "architectures": ["ToyForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    program = (
        "from transformers import BertConfig\nopen({!r}, 'w')\nclass ToyConfig(BertConfig):\n    model_type = 'toy'\n"
    )
    (folder / "toys.py").write_text(program.format(str(folder / "it ran")))
    return str(folder)


def test_code_of_a_model_s_own_is_run_only_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    name = toy(tmp_path)
    with pytest.raises(RecipeError, match=r"with code of its own.* read toys\.Toy, toys\.ToyConfig, then name"):
        own_head.describe(HuggingFaceModel(kind="huggingface", name=name))
    with pytest.raises(RecipeError, match=r"model\.code must be left out or be in auto_map .* got 'toys\.Other'"):
        own_head.describe(HuggingFaceModel(kind="huggingface", name=name, code="toys.Other"))
    assert not (tmp_path / "it ran").exists()
    assert own_head.describe(HuggingFaceModel(kind="huggingface", name=name, code="toys.Toy")).model_type == "toy"
    assert (tmp_path / "it ran").exists()


def test_a_model_without_code_has_none_to_name(tmp_path: Path) -> None:
    transformers.BertConfig().save_pretrained(tmp_path)
    assert not foreign_code.may_run(HuggingFaceModel(kind="huggingface", name=str(tmp_path)))
    with pytest.raises(RecipeError, match=r"none is, got 'toys\.Toy'"):
        foreign_code.may_run(HuggingFaceModel(kind="huggingface", name=str(tmp_path), code="toys.Toy"))
