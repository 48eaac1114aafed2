"""Which whole layers go: one after the other, the one the model's outputs miss least (Song 2024, arXiv:2402.09025).

Where layers of several stacks compete, what they miss is weighed against the time that is saved (Kurtic 2023,
arXiv:2302.04089): in a ResNet of three stages a layer of the first takes the longest.
"""

import heapq
import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from optimization.errors import PruneError
from optimization.pruning import stacks
from optimization.pruning.scores import Criterion, Saliency
from optimization.recipe.methods import Prune

_ENOUGH = 64
"""So many of the examples tell which layer is missed least: the first, among which all classes should be."""

Layers = dict[str, tuple[int, ...]]
"""Layers by stack."""


def weakest(
    model: nn.Module,
    ratio: float,
    scope: Literal["layer", "global"],
    example: tuple[Tensor, ...],
    saliency: Saliency,
    criterion: Criterion,
    costs: Mapping[str, float],
) -> Layers:
    """Layers to leave out: that fraction of each stack, or of all together; every stack keeps one.

    With the criterion "magnitude" outputs on `example` decide, else the scores of the layers' weights do; `costs` are
    what a layer of each stack takes, in any unit, where they differ.

    Raises:
        PruneError: the model has no stack of equal layers.
    """
    if ratio == 0:
        return {}
    found = removable(model, example)
    wanted = {name: _share(len(indices), ratio if scope == "layer" else 1) for name, indices in found.items()}
    room = {name: min(num, len(list(model.get_submodule(name).children())) - 1) for name, num in wanted.items()}
    num_gone = sum(room.values())
    if scope == "global":
        num_gone = min(num_gone, _share(sum(map(len, found.values())), ratio))
    first = tuple(values[:_ENOUGH] for values in example)
    whole = _outputs(model, first, {})
    gone: Layers = dict.fromkeys(found, ())

    def price(choice: tuple[str, int]) -> float:
        name, index = choice
        if criterion == "magnitude":
            without = _outputs(model, first, _with(gone, name, index))
            missed = float((without - whole).square().mean())
        else:
            missed = _total(saliency, f"{stacks.layer_name(name, index)}.")
        return missed / costs.get(name, 1.0)

    prices = [(price(each), each) for each in ((name, index) for name, own in found.items() for index in own)]
    heapq.heapify(prices)
    for _ in range(num_gone):
        # The more is gone, the more a layer is missed (Minoux 1978): what was found before is the least it can be now.
        while True:
            _, (name, index) = heapq.heappop(prices)
            if len(gone[name]) == room[name]:
                continue
            now = price((name, index))
            if not prices or now <= prices[0][0]:
                break
            heapq.heappush(prices, (now, (name, index)))
        gone = _with(gone, name, index)
    return {name: indices for name, indices in gone.items() if indices}


def removable(model: nn.Module, example: tuple[Tensor, ...]) -> Layers:
    """Layers that may be left out.

    Raises:
        PruneError: there is none.
    """
    found = stacks.find(model, example)
    if not found:
        raise PruneError("prune.layers needs a stack of equal layers that keep their input's shape, got none")
    return found


def competing(step: Prune, model: nn.Module, example: tuple[Tensor, ...]) -> Layers:
    """Layers of the stacks among which `step` chooses; none where it has no choice.

    Raises:
        PruneError: it takes layers, and there are none.
    """
    if not step.layers or step.scope != "global":
        return {}
    found = removable(model, example)
    return found if len(found) > 1 else {}


def _share(num: int, ratio: float) -> int:
    return math.floor(num * ratio + 0.5)


def _with(gone: Layers, name: str, index: int) -> Layers:
    return gone | {name: tuple(sorted((*gone[name], index)))}


def _outputs(model: nn.Module, example: tuple[Tensor, ...], gone: Layers) -> Tensor:
    with torch.inference_mode(), stacks.bypassed(model, gone):
        outputs: Tensor = model(*example)
    return outputs


def _total(saliency: Mapping[str, Tensor], prefix: str) -> float:
    return sum(float(each.sum()) for name, each in saliency.items() if name.startswith(prefix))
