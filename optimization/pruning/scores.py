"""How much each weight matters, for choosing what to cut.

magnitude   |w|                      (Li 2017, arXiv:1608.08710)
taylor      (w dL/dw)^2              (Molchanov 2019, arXiv:1906.10771), the sum over steps of training
movement    - w dL/dw                (Sanh 2020, arXiv:2005.07683), the sum over steps of training
random      as the name says; what a score must beat

A unit's score is the sum of its weights' (for magnitude the mean of its layers' sums); the lowest goes first.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

Criterion = Literal["magnitude", "taylor", "movement", "random"]
Saliency = dict[str, Tensor]
"""How much each weight matters, by the parameter's name and in its shape."""


def magnitude(model: nn.Module) -> Saliency:
    """Magnitude of each weight; biases and normalization do not count."""
    return {name: weight.detach().abs() for name, weight in model.named_parameters() if weight.dim() > 1}


def random(model: nn.Module, seed: int) -> Saliency:
    """Chance alone; equal seeds give equal scores."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(weight.shape, generator=generator).to(weight.device)
        for name, weight in model.named_parameters()
    }


def of_gradients(criterion: Criterion) -> Literal["taylor", "movement"] | None:
    """The criterion, if training must gather it."""
    return criterion if criterion in ("taylor", "movement") else None


def saliency(model: nn.Module, criterion: Criterion, seed: int, trained: Saliency | None) -> Saliency:
    """The scores of `criterion`; those of gradients are `trained`, which `Gradients` gathered."""
    match criterion:
        case "magnitude":
            return magnitude(model)
        case "random":
            return random(model, seed)
        case "taylor" | "movement":
            assert trained is not None, "the run trains before it cuts"
            return trained


class Gradients:
    """Sums up a score of gradients while a model trains.

    `observe` is called after each backward pass and before the optimizer's step. Every worker gets the same `saliency`.
    """

    def __init__(self, model: nn.Module, criterion: Literal["taylor", "movement"]) -> None:
        self._parameters = dict(model.named_parameters())
        self._criterion = criterion
        self._sums = {name: torch.zeros_like(parameter) for name, parameter in self._parameters.items()}
        self._num_steps = 0

    def observe(self) -> None:
        """Add this step's gradients."""
        self._num_steps += 1
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                if parameter.grad is not None:
                    product = parameter * parameter.grad
                    self._sums[name] += product.square() if self._criterion == "taylor" else -product

    def state(self) -> dict[str, Any]:
        """What was gathered so far, the same on every worker: gradients are averaged before they are observed."""
        return {"sums": {name: each.cpu() for name, each in self._sums.items()}, "num_steps": self._num_steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._sums = {name: each.to(self._parameters[name].device) for name, each in state["sums"].items()}
        self._num_steps = state["num_steps"]

    def saliency(self) -> Saliency:
        """The mean over all steps and all workers, on the CPU."""
        assert self._num_steps, "observe was never called"
        means = {name: each.detach() / self._num_steps for name, each in self._sums.items()}
        if torch.distributed.is_initialized():
            for each in means.values():
                torch.distributed.all_reduce(each)
                each /= torch.distributed.get_world_size()
        return {name: each.cpu() for name, each in means.items()}
