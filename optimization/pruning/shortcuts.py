"""Shortcuts that pad channels, as in CIFAR ResNets (option A: He 2015, arXiv:1512.03385), as the convolution they are.

Padding ties channel 3 of one stage to channel 11 of the next, and its code counts on the widths it was written for. The
same shortcut as a 1 x 1 convolution of zeros and ones lets every stage be cut by itself; recovery may train it.
"""

import torch
from torch import Tensor, nn


class Shortcut(nn.Conv2d):
    """A 1 x 1 convolution in the place of a shortcut without weights."""

    def __init__(self, num_inputs: int, num_outputs: int, stride: int) -> None:
        super().__init__(num_inputs, num_outputs, kernel_size=1, stride=stride, bias=False)


def find(model: nn.Module, example: tuple[Tensor, ...]) -> dict[str, Shortcut]:
    """The convolution for each module of `model` without weights that changes the number of channels of images."""
    shapes: dict[str, tuple[torch.Size, torch.Size]] = {}
    hooks = []
    for name, module in model.named_modules():
        if any(True for _ in module.parameters()) or any(True for _ in module.children()):
            continue

        def remember(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
            if isinstance(output, Tensor) and output.dim() == 4 and inputs and inputs[0].dim() == 4:
                shapes[name] = inputs[0].shape, output.shape

        hooks.append(module.register_forward_hook(remember))
    with torch.inference_mode():
        model(*example)
    for hook in hooks:
        hook.remove()
    found = {}
    for name, (inputs, output) in shapes.items():
        if inputs[1] != output[1]:
            convolution = _convolution(model.get_submodule(name), inputs, output)
            if convolution is not None:
                found[name] = convolution
    return found


def _convolution(module: nn.Module, inputs: torch.Size, output: torch.Size) -> Shortcut | None:
    """The 1 x 1 convolution that computes the same as `module`; none where there is none."""
    stride = -(-inputs[2] // output[2])
    convolution = Shortcut(inputs[1], output[1], stride)
    with torch.no_grad():
        impulses = torch.eye(inputs[1])[:, :, None, None].expand(-1, -1, *inputs[2:])
        convolution.weight.copy_(module(impulses)[:, :, 0, 0].T[:, :, None, None])
        probe = torch.randn(2, *inputs[1:], generator=torch.Generator().manual_seed(0))
        same = convolution(probe)
        return convolution if same.shape[1:] == output[1:] and torch.equal(same, module(probe)) else None
