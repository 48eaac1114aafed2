"""What tasks have in common that answer each token of a text; logits are of shape [texts, tokens, outputs]."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

PADDING = -2
"""Stands in labels for what is no token of the text."""


class Unpadded(nn.Module):
    """A model of a text's ids and its mask, whose logits are 0 at padding: the form that is served."""

    def __init__(self, logits: nn.Module) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits of shape [batch, tokens, outputs]; the second input is the mask."""
        _, mask, *_ = inputs
        found: Tensor = self.logits(*inputs)
        return torch.where(mask[:, :, None] > 0, found, 0.0)


def words(value: object) -> list[str]:
    """The words of a text, or their labels: a list, or one text with spaces between them."""
    if isinstance(value, str):
        return value.split()
    return [str(each) for each in np.asarray(value, object).ravel().tolist()]


def mean(found: Tensor, counts: Tensor) -> Tensor:
    """Mean over the tokens of each text that count, of shape [batch]; 0 where none does."""
    return (found * counts).sum(dim=1) / counts.sum(dim=1).clamp_min(1)


def alike(labels: NDArray[Any], answers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both cut to the tokens that both have: behind them is padding, of all the examples or of those drawn."""
    num = min(labels.shape[1], answers.shape[1])
    return labels[:, :num], answers[:, :num]
