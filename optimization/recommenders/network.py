"""What makes a logit of one row of each column, and its gradients."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from optimization.chance import number
from optimization.recommenders.recipe import Network


class Recommender(nn.Module):
    """Products of all pairs of rows, summed by element, and a perceptron over the rows, weighed together."""

    def __init__(self, num_columns: int, width: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        sizes = (num_columns * width, *hidden)
        layers = [(nn.Linear(before, after), nn.ReLU()) for before, after in zip(sizes, hidden, strict=False)]
        self.perceptron = nn.Sequential(*(each for layer in layers for each in layer))
        self.last = nn.Linear(width + sizes[-1], 1)

    def forward(self, *rows: Tensor) -> Tensor:
        """Logits of shape [batch, 1] of the columns' rows, each of shape [batch, width]."""
        stacked = torch.stack(rows, dim=1)
        pairs = (stacked.sum(dim=1) ** 2 - (stacked**2).sum(dim=1)) / 2
        found: Tensor = self.last(torch.cat([pairs, self.perceptron(stacked.flatten(1))], dim=1))
        return found


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """What one batch says."""

    rows: NDArray[np.float32]
    """[rows, width]; of a row that comes several times they are summed."""
    weights: NDArray[np.float32]
    """Of the network, as one vector."""
    loss: float


def build(config: Network, num_columns: int, width: int, seed: int) -> Recommender:
    """The network with its first weights, which depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number(seed, "recommender"))
        return Recommender(num_columns, width, config.hidden)


def weights(network: nn.Module) -> NDArray[np.float32]:
    """All weights as one vector."""
    found: NDArray[np.float32] = parameters_to_vector(network.parameters()).detach().numpy()
    return found


def load(network: nn.Module, weights: NDArray[np.float32]) -> None:
    """Put `weights` in place of the network's."""
    vector_to_parameters(torch.from_numpy(weights.copy()), network.parameters())


def gradients(
    network: nn.Module, rows: NDArray[np.float32], places: NDArray[np.int64], labels: NDArray[np.int64]
) -> Gradients:
    """Of the mean cross-entropy of a batch, whose sample i has the rows `places[i]`, of shape [batch, columns]."""
    network.zero_grad()
    leaf = torch.from_numpy(rows).requires_grad_()
    chosen = leaf[torch.from_numpy(places)]
    logits = network(*chosen.unbind(dim=1))[:, 0]
    loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels).to(logits.dtype))
    loss.backward()  # type: ignore[no-untyped-call]
    of_weights = [each.grad if each.grad is not None else torch.zeros_like(each) for each in network.parameters()]
    assert leaf.grad is not None, "a leaf"
    return Gradients(rows=leaf.grad.numpy(), weights=parameters_to_vector(of_weights).numpy(), loss=loss.item())
