"""Fewer embeddings than a tokenizer has tokens."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from numpy.typing import NDArray
from torch import Tensor

_AT_ONCE = 2048
"""Tokens whose likeness to all kept ones is computed at once."""


def choose(embeddings: Tensor, data: NDArray[np.int64], size: int) -> tuple[Tensor, Tensor]:
    """The `size` tokens to keep of a table [tokens, width], and the kept one that each token is read as, by its place.

    Kept are the frequent ones of the data, then the first ones. Another token is read as the kept one whose embedding
    points most nearly where its own did.
    """
    counts = np.bincount(data.ravel(), minlength=len(embeddings))
    kept = torch.from_numpy(np.sort(np.argsort(-counts, kind="stable")[:size]))
    rows = torch.zeros(len(embeddings), dtype=torch.int32)
    rows[kept] = torch.arange(len(kept), dtype=torch.int32)
    others = torch.ones(len(embeddings), dtype=torch.bool)
    others[kept] = False
    directions = F.normalize(embeddings, dim=1)
    nearest = [(part @ directions[kept].T).argmax(dim=1) for part in torch.split(directions[others], _AT_ONCE)]
    rows[others] = torch.cat(nearest or [kept[:0]]).int()
    return kept, rows
