"""Builds the architectures a recipe names; they take raw inputs and give logits."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from optimization.data import Dataset
from optimization.recipe import Cnn, Mlp


class Standardize(nn.Module):
    """Bring raw inputs of shape [batch, features] to a range layers like."""

    offset: Tensor
    scale: Tensor

    def __init__(self, offset: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs less the offset, divided by the scale."""
        return (inputs - self.offset) / self.scale


class Probabilities(nn.Module):
    """A model of logits with its softmax, or its sigmoid where there is one logit: the form that is served."""

    def __init__(self, logits: nn.Module, num_outputs: int) -> None:
        super().__init__()
        self.logits = logits
        self.squash: nn.Module = nn.Sigmoid() if num_outputs == 1 else nn.Softmax(dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Probabilities of shape [batch, outputs]."""
        squashed: Tensor = self.squash(self.logits(inputs))
        return squashed


def build(config: Mlp | Cnn, dataset: Dataset, seed: int) -> nn.Sequential:
    """A freshly initialised model; equal seeds give equal weights.

    Raw inputs of shape [batch, features] in, logits of shape [batch, outputs] out.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [Standardize(torch.tensor(dataset.offset), torch.tensor(dataset.scale))]
        num_features = dataset.num_features
        if isinstance(config, Cnn):
            assert dataset.side is not None, "the recipe was checked"
            layers += [nn.Unflatten(1, (1, dataset.side, dataset.side))]
            layers += _blocks(config.channels)
            num_features = config.channels[-1] * (dataset.side >> len(config.channels)) ** 2
        return nn.Sequential(*layers, *_dense((num_features, *config.hidden)), _head(config, dataset.num_outputs))


def num_parameters(model: nn.Module) -> int:
    """Trainable weights; zeros count."""
    return sum(parameter.numel() for parameter in model.parameters())


def _blocks(channels: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inner, outer in zip((1, *channels), channels, strict=False):
        layers += [nn.Conv2d(inner, outer, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return [*layers, nn.Flatten()]


def _dense(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return layers


def _head(config: Mlp | Cnn, num_outputs: int) -> nn.Linear:
    return nn.Linear(config.hidden[-1], num_outputs)
