"""Leaves a text model the tokens it needs: a smaller tokenizer, whose ids are counted anew.

    texts, tokenizer ─▶ the tokens that are kept ─▶ tokenizer of those alone ─▶ the texts encoded by it

Of the words of a language, few are in one kind of text, and embeddings are most of what a small text model weighs.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from optimization.errors import DataError
from optimization.examples import Dataset, Split
from optimization.readers import text

_FILLER = "[unused"
"""How names of tokens begin that BERT's vocabulary keeps for later use."""


def shrink(dataset: Dataset, size: int) -> Dataset:
    """The same texts, encoded by a tokenizer of at most `size` tokens.

    Raises:
        DataError: the data are no texts in memory, or their tokenizer cannot be cut.
    """
    texts = dataset.train.texts
    if texts is None or text.FILE not in dataset.files:
        raise DataError("data.vocabulary must be left out where the data are no texts in memory")
    tokenizer = tokenizers.Tokenizer.from_file(str(dataset.files[text.FILE]))
    smaller, vocabulary = prune(tokenizer, [str(each) for each in texts], size)
    folder = Path(tempfile.mkdtemp(prefix="trimtab-tokenizer-"))
    return replace(
        dataset,
        train=_encoded(dataset.train, smaller),
        held_out=_encoded(dataset.held_out, smaller),
        vocabulary=vocabulary,
        files=dataset.files | {text.FILE: text.save(smaller, folder)},
    )


def prune(tokenizer: Any, texts: Sequence[str], size: int) -> tuple[Any, NDArray[np.int64]]:
    """A tokenizer of at most `size` tokens, and the id in `tokenizer` of each.

    Kept are special tokens, then those of the texts, the frequent ones first, then the tokenizer's own in their order.
    Texts of kept tokens are cut as before; in others, what is left out is spelled in kept tokens, or unknown.

    Raises:
        DataError: the tokenizer is no WordPiece, or has more special tokens than that.
    """
    described = json.loads(tokenizer.to_str())
    model = described["model"]
    if model["type"] != "WordPiece":
        raise DataError(f"data.vocabulary needs a WordPiece tokenizer, as BERT's, got {model['type']}: leave it out")
    words: dict[str, int] = model["vocab"]
    special = {each["id"] for each in described["added_tokens"]} | {words[model["unk_token"]]}
    if size < len(special):
        raise DataError(f"data.vocabulary must be at least the {len(special)} special tokens, got {size}")
    counts = Counter(token for each in tokenizer.encode_batch_fast(list(texts)) for token in each.ids)
    rest = sorted(number for word, number in words.items() if not word.startswith(_FILLER))
    ranked = dict.fromkeys([*sorted(special), *(token for token, _ in counts.most_common()), *rest])
    vocabulary = np.sort(np.fromiter(ranked, np.int64)[:size])
    numbers = {int(before): now for now, before in enumerate(vocabulary)}
    model["vocab"] = {word: numbers[number] for word, number in words.items() if number in numbers}
    for each in described["added_tokens"]:
        each["id"] = numbers[each["id"]]
    if described["padding"] is not None:
        described["padding"]["pad_id"] = numbers[described["padding"]["pad_id"]]
    _renumber(described["post_processor"] or {}, numbers)
    return tokenizers.Tokenizer.from_str(json.dumps(described)), vocabulary


def _encoded(split: Split, tokenizer: Any) -> Split:
    assert split.texts is not None, "the training data have them too"
    return text.encode([str(each) for each in split.texts], split.labels, tokenizer)


def _renumber(processor: dict[str, Any], numbers: dict[int, int]) -> None:
    """Bring the special tokens that are put around a text in line, in place."""
    match processor:
        case {"type": "Sequence"}:
            for each in processor["processors"]:
                _renumber(each, numbers)
        case {"type": "TemplateProcessing"}:
            for each in processor["special_tokens"].values():
                each["ids"] = [numbers[number] for number in each["ids"]]
        case {"cls": _, "sep": _}:
            for place in ("cls", "sep"):
                processor[place][1] = numbers[processor[place][1]]
