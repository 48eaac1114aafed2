"""Structured pruning: cut whole neurons and channels, and what depends on them in other layers.

The units with the smallest L1 norm go first (Li 2017, arXiv:1608.08710); which weights belong to a unit is found by
tracing the model (DepGraph: Fang 2023, arXiv:2301.12900).
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch_pruning.dependency import DependencyGraph, Group
from torch_pruning.pruner.importance import MagnitudeImportance

from optimization.errors import PruneError

TOLERANCE = 1e-5
"""How far the smaller model's logits may be from those of the original with the same units set to zero."""


def prune(model: nn.Module, *, ratio: float, round_to: int, example: Tensor) -> nn.Module:
    """Return a copy of `model` without the weakest `ratio` of the units in each hidden layer.

    The output layer keeps its units, and every other layer at least one. `example` are inputs to trace and check with.

    Raises:
        PruneError: the copy does not compute what the original computes with those units at zero.
    """
    masked, smaller = copy.deepcopy(model).eval(), copy.deepcopy(model).eval()
    graph = DependencyGraph().build_dependency(smaller, example[:1])
    importance = MagnitudeImportance(p=1, group_reduction="mean")
    originals = dict(zip(smaller.modules(), masked.modules(), strict=True))
    for group in graph.get_all_groups(ignored_layers=[output_layer(smaller)], root_module_types=[nn.Conv2d, nn.Linear]):
        strength: Tensor = importance(group)
        num_kept = num_units_kept(len(strength), ratio, round_to)
        weakest = strength.argsort(stable=True)[: len(strength) - num_kept].sort().values.tolist()
        for layer in _sources(group):
            silence(originals[layer], weakest)
        group.prune(idxs=weakest)
    smaller.zero_grad()
    check(masked, smaller, example)
    return smaller


def num_units_kept(num_units: int, ratio: float, round_to: int) -> int:
    """How many of a layer's units stay: a multiple of `round_to` where the layer is that wide, and at least one."""
    multiples = round(num_units * (1 - ratio) / round_to)
    return min(num_units, max(1, multiples) * round_to)


def silence(layer: nn.Module, units: list[int]) -> None:
    """Set the weights and biases that feed `units` to zero, so that they put out nothing."""
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    with torch.no_grad():
        layer.weight[units] = 0
        if layer.bias is not None:
            layer.bias[units] = 0


def check(masked: Callable[[Tensor], Tensor], smaller: Callable[[Tensor], Tensor], example: Tensor) -> None:
    """Compare the logits of two models on `example`.

    Raises:
        PruneError: they differ by more than `TOLERANCE`.
    """
    with torch.inference_mode():
        difference = float((masked(example) - smaller(example)).abs().max())
    if not difference <= TOLERANCE:
        raise PruneError(f"the pruned model must equal the masked original to {TOLERANCE}, got {difference} apart")


def output_layer(model: nn.Module) -> nn.Module:
    """The last fully connected layer."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def _sources(group: Group) -> Iterator[nn.Module]:
    """The layers whose outputs the group's units are."""
    for item in group:
        if item.dep.handler.__name__ == "prune_out_channels" and isinstance(
            item.dep.target.module, nn.Linear | nn.Conv2d
        ):
            yield item.dep.target.module
