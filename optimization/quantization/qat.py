"""Quantization-aware training: a model that rounds as INT8 will while it trains, so that it learns to bear it.

    model ─▶ prepare ─▶ train ─▶ strip ─▶ export, then quantize.py's static method

Weights are rounded per channel and symmetrically, which normalization that folds into them later does not change;
what each layer takes in is rounded per tensor. Gradients pass as if nothing was rounded (Jacob 2018, arXiv:1712.05877).
"""

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from optimization.pruning import heads
from optimization.quantization.quantize import has_vnni

_SMOOTHING = 0.01
"""Weight of a batch's smallest and largest input in the running range."""


class Rounded(nn.Module):
    """A fully connected or convolutional layer whose weights and inputs are rounded to 8 bits."""

    low: Tensor
    high: Tensor

    def __init__(self, layer: nn.Module, weight_limit: int) -> None:
        super().__init__()
        self.layer = layer
        self.weight_limit = weight_limit
        self.register_buffer("low", torch.tensor(torch.inf))
        self.register_buffer("high", torch.tensor(-torch.inf))

    def forward(self, inputs: Tensor) -> Tensor:
        """The layer's output as INT8 will compute it; in training, the range of inputs is learned on the way."""
        if self.training or not torch.isfinite(self.low):
            self._learn_range(inputs.detach())
        output: Tensor = functional_call(self.layer, {"weight": self._rounded_weight()}, (self._rounded(inputs),))
        return output

    def _learn_range(self, inputs: Tensor) -> None:
        """The range always holds 0, which INT8 must be able to say."""
        low, high = inputs.min().clamp(max=0).float(), inputs.max().clamp(min=0).float()
        seen = torch.isfinite(self.low)
        self.low.copy_(torch.where(seen, self.low.lerp(low, _SMOOTHING), low))
        self.high.copy_(torch.where(seen, self.high.lerp(high, _SMOOTHING), high))

    def _rounded(self, inputs: Tensor) -> Tensor:
        scale = ((self.high - self.low) / 255).clamp_min(1e-12)
        zero_point = (-self.low / scale).round().clamp(0, 255).int()
        return torch.fake_quantize_per_tensor_affine(inputs, scale, zero_point, 0, 255)

    def _rounded_weight(self) -> Tensor:
        weight = self.layer.weight
        assert isinstance(weight, Tensor)
        scale = (weight.detach().flatten(1).abs().amax(dim=1) / self.weight_limit).clamp_min(1e-12)
        zero_points = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            weight, scale, zero_points, 0, -self.weight_limit, self.weight_limit
        )


def prepare(model: nn.Module) -> nn.Module:
    """A copy of `model` whose fully connected and convolutional layers round; its weights are trained as before."""
    prepared = copy.deepcopy(model)
    limit = 127 if has_vnni() else 64  # seven bits, as `quantize` writes them for such a CPU
    for name, layer in list(prepared.named_modules()):
        if heads.can_slim(layer):
            heads.slim(prepared, name)  # torch's own attention reads its weights past any layer
    for name, layer in list(prepared.named_modules()):
        if isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd)):
            prepared.set_submodule(name, Rounded(layer, limit))
    return prepared


def strip(model: nn.Module) -> nn.Module:
    """A copy of the prepared `model` that rounds no more, with the weights it learned."""
    stripped = copy.deepcopy(model)
    for name, layer in list(stripped.named_modules()):
        if isinstance(layer, Rounded):
            stripped.set_submodule(name, layer.layer)
    return stripped
