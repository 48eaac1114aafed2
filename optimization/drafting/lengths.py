"""How long texts really are, in tokens, and so where to cut them: what is cut is lost, and spare room costs nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_SHARE = 0.999
"""Of the texts, what is not cut."""
_MULTIPLE = 8
_ENOUGH = 20_000
"""Texts that tell the lengths of all."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of the texts, special ones included."""

    median: int
    longest: int
    max_length: int
    """Where to cut."""
    num_cut: int
    """Texts that are cut there."""
    num: int
    """Texts that were looked at."""


def measure(texts: Sequence[str], tokenizer: Any, most: int) -> Lengths:
    """The lengths of `texts`, of which a model takes `most` tokens; `tokenizer` cuts nothing."""
    looked_at = (
        texts if len(texts) <= _ENOUGH else [texts[row] for row in np.linspace(0, len(texts) - 1, _ENOUGH, dtype=int)]
    )
    found = np.array([len(each.ids) for each in tokenizer.encode_batch_fast(list(looked_at))])
    wanted = int(np.quantile(found, _SHARE, method="higher"))
    max_length = min(-(-wanted // _MULTIPLE) * _MULTIPLE, most)
    return Lengths(
        median=int(np.median(found)),
        longest=int(found.max()),
        max_length=max_length,
        num_cut=int((found > max_length).sum()),
        num=len(found),
    )
