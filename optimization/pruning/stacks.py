"""Whole layers: stacks of equal layers in a model, and the model without some of them."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def find(model: nn.Module, example: tuple[Tensor, ...]) -> dict[str, tuple[int, ...]]:
    """Stacks of `model` by name, each with the layers that may be left out.

    A stack is a list of modules that lies in no other one's layers; may be left out those of which it has several, that
    are built of others, and that put out what they take in, in shape.
    """
    shapes: dict[str, bool] = {}
    with _watching(model, lambda name, inputs, output: shapes.update({name: inputs.shape == output.shape})):
        model(*example)
    found: dict[str, tuple[int, ...]] = {}
    for name, stack in model.named_modules():
        if not isinstance(stack, nn.ModuleList | nn.Sequential) or any(_is_inside(name, outer) for outer in found):
            continue
        kinds = [type(layer) for layer in stack]
        removable = tuple(
            index
            for index, layer in enumerate(stack)
            if kinds.count(type(layer)) > 1
            and not isinstance(layer, nn.Sequential)
            and any(True for _ in layer.children())
            and shapes.get(layer_name(name, index), False)
        )
        if removable:
            found[name] = removable
    return found


def layer_name(stack: str, index: int) -> str:
    """Name of one layer of a stack; the stack may be the model itself, whose name is empty."""
    return f"{stack}.{index}" if stack else str(index)


def keep(model: nn.Module, name: str, indices: tuple[int, ...]) -> None:
    """Leave only the layers `indices` in the stack `name` of `model`, in place."""
    stack = model.get_submodule(name)
    assert isinstance(stack, nn.ModuleList | nn.Sequential)
    before = kept(stack) or tuple(range(len(stack)))
    layers = [stack[index] for index in indices]
    for index in reversed(range(len(stack))):
        del stack[index]
    for layer in layers:
        stack.append(layer)
    stack.kept_layers = tuple(before[index] for index in indices)  # type: ignore[assignment]
    parent = model.get_submodule(name.rpartition(".")[0])
    if isinstance(getattr(parent, "num_layers", None), int):
        parent.num_layers = len(layers)  # type: ignore[assignment]


def kept(stack: nn.Module) -> tuple[int, ...] | None:
    """Which of its first layers `stack` kept; none where it was never shortened."""
    indices: tuple[int, ...] | None = stack.__dict__.get("kept_layers")
    return indices


def without(model: nn.Module, layers: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """A smaller copy of `model` without the `layers` of each stack."""
    smaller = copy.deepcopy(model)
    for name, gone in layers.items():
        stack = smaller.get_submodule(name)
        assert isinstance(stack, nn.ModuleList | nn.Sequential)
        keep(smaller, name, tuple(index for index in range(len(stack)) if index not in gone))
    return smaller


@contextmanager
def bypassed(model: nn.Module, layers: Mapping[str, tuple[int, ...]]) -> Iterator[None]:
    """While the block runs, the `layers` of each stack of `model` hand on what they are given."""

    def hand_on(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        return (inputs[0], *output[1:]) if isinstance(output, tuple) else inputs[0]

    names = [layer_name(name, index) for name, gone in layers.items() for index in gone]
    hooks = [model.get_submodule(name).register_forward_hook(hand_on) for name in names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_inside(name: str, outer: str) -> bool:
    return name.startswith(f"{outer}." if outer else "")


@contextmanager
def _watching(model: nn.Module, see: Callable[[str, Tensor, Tensor], object]) -> Iterator[None]:
    """While the block runs, without gradients, `see` is told each module's first input and first output."""

    def tell(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if inputs and isinstance(inputs[0], Tensor) and isinstance(first, Tensor):
                see(name, inputs[0], first)

        return hook

    hooks = [module.register_forward_hook(tell(name)) for name, module in model.named_modules()]
    try:
        with torch.inference_mode():
            yield
    finally:
        for hook in hooks:
            hook.remove()
