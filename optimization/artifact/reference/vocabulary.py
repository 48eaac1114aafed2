"""What a tokenizer's tokens are made of: statistics of texts that need no language, from their tokens alone."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

UNKNOWN = ("[UNK]", "<unk>", "UNK")
_STATISTICS = ("characters", "letters", "digits", "punctuation", "capitals", "beyond_ascii")


class Vocabulary:
    """Counts of characters by token."""

    def __init__(self, tokenizer: Path) -> None:
        """`tokenizer` is a file of Hugging Face's `tokenizers`."""
        read = Tokenizer.from_file(str(tokenizer))
        self.size = read.get_vocab_size()
        texts = read.decode_batch([[token] for token in range(self.size)], skip_special_tokens=True)
        self._counts = np.array([_counts(text.strip()) for text in texts], np.float64)
        """[tokens, statistics]"""
        self._is_unknown = np.zeros(self.size, np.float64)
        self._is_unknown[[token for name in UNKNOWN if (token := read.token_to_id(name)) is not None]] = 1.0

    def statistics(self, tokens: NDArray[Any], mask: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """By name and row, of tokens [rows, longest] where `mask` is 1: their number, the share that is unknown, the
        characters of a token, and of the characters the share of each kind."""
        known = np.clip(tokens, 0, self.size - 1)
        length = mask.sum(axis=1)
        counted = (self._counts[known] * mask[..., None]).sum(axis=1)
        of_tokens, of_characters = np.maximum(length, 1.0), np.maximum(counted[:, 0], 1.0)
        return {
            "length": length,
            "unknown": (self._is_unknown[known] * mask).sum(axis=1) / of_tokens,
            "characters": counted[:, 0] / of_tokens,
            **{name: counted[:, at] / of_characters for at, name in enumerate(_STATISTICS) if at},
        }


def _counts(text: str) -> tuple[int, ...]:
    return (
        len(text),
        sum(map(str.isalpha, text)),
        sum(map(str.isdigit, text)),
        sum(unicodedata.category(each).startswith("P") for each in text),
        sum(map(str.isupper, text)),
        sum(not each.isascii() for each in text),
    )
