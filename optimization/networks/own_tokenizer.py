"""Whether a tokenizer is the one that a model learned with: else it reads other words than are written."""

from pathlib import Path
from typing import Any

import tokenizers

from optimization.errors import RecipeError
from optimization.networks import own_head
from optimization.readers import text
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import HuggingFaceModel
from optimization.recipe.recipe import Recipe

_SPECIAL = ("pad_token_id", "cls_token_id", "sep_token_id")


def expect(recipe: Recipe, dataset: Dataset) -> None:
    """Check the data's tokenizer against each model of transformers that the recipe names.

    Raises:
        RecipeError: it gives ids that a model has no embedding of, other ids than the model's configuration has for
            padding and the ends of a text, or other ids than the tokenizer that lies beside the model.
    """
    if text.FILE not in dataset.files:
        return
    models = [recipe.teacher.model] if recipe.distill is None else [recipe.teacher.model, recipe.distill.student]
    for model in models:
        if isinstance(model, HuggingFaceModel):
            _expect(model, tokenizers.Tokenizer.from_file(str(dataset.files[text.FILE])))


def _expect(model: HuggingFaceModel, tokenizer: Any) -> None:
    described, rule = own_head.describe(model), f"data.tokenizer must be that of {model.name!r}"
    known: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    last = max(known, key=lambda token: known[token])
    if known[last] >= described.vocab_size:
        raise RecipeError(f"{rule}, which has {described.vocab_size} tokens, got one with {last!r} as {known[last]}")
    if not model.pretrained:
        return
    for name in _SPECIAL:
        wanted = getattr(described, name, None)
        got = _special(tokenizer, name)
        if wanted is not None and got is not None and got != wanted:
            raise RecipeError(f"{rule}, whose {name} is {wanted}, got {got}")
    beside = Path(model.name).expanduser() / text.FILE
    if beside.is_file():
        own = tokenizers.Tokenizer.from_file(str(beside)).get_vocab(with_added_tokens=True)
        others = [token for token, number in own.items() if known.get(token) != number]
        if others:
            other = min(others, key=lambda token: own[token])
            raise RecipeError(f"{rule}, where {other!r} is {own[other]}, got {known.get(other, 'no such token')}")


def _special(tokenizer: Any, name: str) -> int | None:
    """The id that it pads with, or puts at the beginning or end of a text; none where it puts none."""
    padding: dict[str, int] = tokenizer.padding or {}
    if name == "pad_token_id":
        return padding.get("pad_id")
    ends: list[int] = tokenizer.encode("", add_special_tokens=True).ids
    if len(ends) != 2:
        return None
    return ends[0] if name == "cls_token_id" else ends[1]
