"""Texts given as words, with a label for each: what is labelled is the first token of a word.

    words ─▶ one text, spaces between them ─▶ tokens, each with its place in the text ─▶ the word it begins

Tokens are those of the text as a client sends it, whatever the tokenizer makes of words alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization.errors import DataError
from optimization.readers import text
from optimization.readers.examples import Split
from optimization.tasks import by_token
from optimization.tasks.task import UNLABELLED


def encode(texts: Sequence[object], labels: NDArray[np.int64], tokenizer: Any) -> Split:
    """The texts as token ids with their mask, and labels of shape [texts, tokens].

    `labels` are those of the words, of shape [texts, words], -1 behind a text's last. A word that the tokenizer makes
    no token of, or cuts off, does not count.

    Raises:
        DataError: a text has no words, or not as many as labels.
    """
    words = [by_token.words(each) for each in texts]
    for row, (each, own) in enumerate(zip(words, labels, strict=True)):
        num = int((own != UNLABELLED).sum())
        if not each:
            raise DataError(f"a text must have at least one word, got none in row {row}")
        if num != len(each):
            rule = "a text must have a label for each of its words"
            raise DataError(f"{rule}, got {len(each)} words and {num} labels in row {row}")
    split = text.encode([" ".join(each) for each in words], np.zeros(len(words), np.int64), tokenizer)
    found = np.where(split.inputs["attention_mask"] > 0, UNLABELLED, by_token.PADDING)
    for row, encoding in enumerate(tokenizer.encode_batch([" ".join(each) for each in words])):
        places = _first_tokens(words[row], encoding.offsets)
        found[row, list(places)] = labels[row, list(places.values())]
    return replace(split, labels=found)


def _first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The word that each token begins, by the token's number; special tokens are of no characters."""
    owner = np.concatenate([[-1, *[number] * len(word)] for number, word in enumerate(words)])[1:]
    found: dict[int, int] = {}
    seen = -1
    for token, (start, end) in enumerate(offsets):
        word = int(owner[start:end].max(initial=-1))
        if word > seen:
            found[token], seen = word, word
    return found
