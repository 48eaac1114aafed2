"""Unstructured pruning: weights become zero, the model keeps its shape.

ONNX Runtime multiplies by zeros as by any number: this shrinks the compressed file, and nothing else.
"""

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from optimization.pruning import schedule, scores
from optimization.pruning.scores import Saliency
from optimization.recipe.methods import Sparsify


def sparsify(
    model: nn.Module,
    *,
    threshold: float | None = None,
    ratio: float | None = None,
    pattern: Literal["2:4"] | None = None,
    scope: Literal["layer", "global"] = "layer",
    saliency: Saliency | None = None,
) -> nn.Module:
    """Return a copy of `model` with zeros among its weights; biases stay.

    One of three says which: magnitudes below `threshold`; the fraction `ratio` that `saliency` (the magnitudes, unless
    given) scores lowest in each layer or in all together; or "2:4", the two smallest of every four inputs.
    """
    sparse = copy.deepcopy(model)
    saliency = scores.magnitude(sparse) if saliency is None else saliency
    weights = {name: weight for name, weight in sparse.named_parameters() if weight.dim() > 1}
    if threshold is not None:
        masks = {name: weight.abs() >= threshold for name, weight in weights.items()}
    elif ratio is not None:
        masks = _highest({name: saliency[name] for name in weights}, ratio, scope)
    else:
        assert pattern == "2:4", "the recipe was checked"
        masks = {name: two_of_four(saliency[name]) for name in weights}
    hold(sparse, masks)
    return sparse


def ratios(step: Sparsify) -> list[float | None]:
    """The fraction of zeros after each stage of `step`; one stage where a threshold or a pattern decides."""
    if step.ratio is None:
        return [None]
    return [schedule.cubic(step.ratio, stage, step.stages) for stage in range(1, step.stages + 1)]


def two_of_four(saliency: Tensor) -> Tensor:
    """Which weights stay when the two lowest of every four consecutive inputs go (Mishra 2021, arXiv:2104.08378).

    All stay where the number of inputs is no multiple of four, as in a first convolution.
    """
    inputs_last = saliency.movedim(1, -1)
    if inputs_last.shape[-1] % 4:
        return torch.ones_like(saliency, dtype=torch.bool)
    fours = inputs_last.reshape(*inputs_last.shape[:-1], -1, 4)
    stays = torch.zeros_like(fours, dtype=torch.bool).scatter(-1, fours.topk(2, dim=-1).indices, True)
    return stays.flatten(-2).movedim(-1, 1)


def zeros(model: nn.Module) -> dict[str, Tensor]:
    """Where the weights of `model` are not zero, so that `hold` can keep the others at zero while it trains."""
    return {name: weight.detach() != 0 for name, weight in model.named_parameters() if weight.dim() > 1}


def hold(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the weights to zero where `masks` is false, in place."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, stays in masks.items():
            parameters[name].masked_fill_(~stays, 0)


def _highest(saliency: Saliency, ratio: float, scope: Literal["layer", "global"]) -> dict[str, Tensor]:
    if scope == "layer":
        return {name: _above(each, each.flatten(), ratio) for name, each in saliency.items()}
    pooled = torch.cat([each.flatten() for each in saliency.values()])
    return {name: _above(each, pooled, ratio) for name, each in saliency.items()}


def _above(saliency: Tensor, pool: Tensor, ratio: float) -> Tensor:
    """Where `saliency` is not among the lowest `ratio` of the `pool`."""
    num_gone = round(len(pool) * ratio)
    if not num_gone:
        return torch.ones_like(saliency, dtype=torch.bool)
    return saliency > pool.kthvalue(num_gone).values
