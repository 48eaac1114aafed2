"""Places inside a model where its states can be read; they are found by running the model once.

hidden      what enters the first and leaves each layer of the longest stack of layers    [batch, positions, width]
attention   query, key and value of the last attention, side by side                      [batch, positions, 3 width]
pooled      what enters the last fully connected layer, the classifier                    [batch, width]
features    the last output of each picture size, once there were weights                 [batch, width, *sides]
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from optimization.pruning import heads

Kind = Literal["hidden", "attention", "pooled", "features"]

_DIMS = {nn.Conv1d: 3, nn.Conv2d: 4}
"""Dimensions of what convolutions give."""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """A state that can be read."""

    modules: tuple[str, ...]
    """Names of those whose states are put side by side along the last dimension; almost always one."""
    side: Literal["input", "output", "projections"] = "output"
    """What to read there; projections are what `nn.MultiheadAttention` makes of its inputs."""
    width: int
    """Channels of the state."""
    sides: tuple[int, ...] = ()
    """Height and width of pictures, length of signals, which come after the channels."""
    num_heads: int = 1
    """Of an attention."""


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What a module was given and gave back; none where that was no tensor of numbers."""

    name: str
    module: nn.Module
    given: Tensor | None
    gave: Tensor | None


def find(kind: Kind, model: nn.Module, example: tuple[Tensor, ...]) -> tuple[Tap, ...]:
    """The model's taps of that kind, in order; none where it has no such states."""
    calls = _calls(model, example)
    match kind:
        case "hidden":
            return _hidden(model, calls)
        case "attention":
            return _attention(model, calls)
        case "pooled":
            return _pooled(calls)
        case "features":
            return _features(calls)


def read(model: nn.Module, taps: Sequence[Tap], inputs: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The model's output on `inputs`, and the state at each tap."""
    seen: dict[tuple[str, str], Tensor] = {}
    hooks = [_watch(model.get_submodule(name), name, tap.side, seen) for tap in taps for name in tap.modules]
    try:
        with heads.without_fast_path():
            output: Tensor = model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return output, tuple(_state([seen[name, tap.side] for name in tap.modules]) for tap in taps)


def _hidden(model: nn.Module, calls: Mapping[str, _Call]) -> tuple[Tap, ...]:
    longest: list[_Call] = []
    for name, stack in model.named_modules():
        layers = [calls.get(f"{name}.{child}".lstrip(".")) for child, _ in stack.named_children()]
        if isinstance(stack, nn.ModuleList | nn.Sequential) and len({type(layer) for layer in stack}) == 1:
            passing = [call for call in layers if call is not None and _passes_states_on(call)]
            if len(passing) == len(layers) > len(longest):
                longest = passing
    if not longest:
        return ()
    widths = [call.gave.shape[-1] for call in longest if call.gave is not None]
    first = Tap(modules=(longest[0].name,), side="input", width=widths[0])
    return first, *(Tap(modules=(call.name,), width=width) for call, width in zip(longest, widths, strict=True))


def _passes_states_on(call: _Call) -> bool:
    """Whether it is built of others, and takes and gives states of one shape [batch, positions, width]."""
    is_built = any(True for _ in call.module.children())
    shapes = [None if each is None else each.shape for each in (call.given, call.gave)]
    return is_built and shapes[0] == shapes[1] is not None and len(shapes[0] or ()) == 3


def _attention(model: nn.Module, calls: Mapping[str, _Call]) -> tuple[Tap, ...]:
    found = {
        each.inputs[0]: Tap(modules=each.inputs, width=each.num_heads * each.head_size, num_heads=each.num_heads)
        for each in heads.find(model)
    }
    for name, module in model.named_modules():
        packed = getattr(module, "qkv", None)
        if heads.can_slim(module):
            assert isinstance(module, nn.MultiheadAttention)
            tap = Tap(modules=(name,), side="projections", width=module.embed_dim, num_heads=module.num_heads)
            found[name] = tap
        elif isinstance(packed, nn.Linear) and packed.out_features == 3 * packed.in_features:
            layer = f"{name}.qkv".lstrip(".")
            found[layer] = Tap(modules=(layer,), width=packed.in_features, num_heads=heads.count(module) or 1)
    order = list(calls)
    ran = [name for name in found if name in calls]
    return (found[max(ran, key=order.index)],) if ran else ()


def _pooled(calls: Mapping[str, _Call]) -> tuple[Tap, ...]:
    linears = [call for call in calls.values() if isinstance(call.module, nn.Linear)]
    if not linears or (state := linears[-1].given) is None or state.dim() != 2:
        return ()
    dropouts = [call for call in calls.values() if isinstance(call.module, nn.Dropout) and call.gave is not None]
    before = [call.name for call in dropouts if call.gave is not None and call.gave.data_ptr() == state.data_ptr()]
    name = before[0] if before else linears[-1].name  # what is learned is learned without dropout's noise
    return (Tap(modules=(name,), side="input", width=state.shape[1]),)


def _features(calls: Mapping[str, _Call]) -> tuple[Tap, ...]:
    modules = [call.module for call in calls.values()]
    dims = {dims for kind, dims in _DIMS.items() if any(isinstance(module, kind) for module in modules)}
    last: dict[tuple[int, ...], Tap] = {}
    has_weights = False
    for name, call in calls.items():
        has_weights = has_weights or any(True for _ in call.module.parameters())
        if has_weights and call.gave is not None and call.gave.dim() in dims and max(call.gave.shape[2:]) > 1:
            sides = tuple(call.gave.shape[2:])
            last[sides] = Tap(modules=(name,), width=call.gave.shape[1], sides=sides)
    return tuple(sorted(last.values(), key=lambda tap: tap.sides, reverse=True))


def _calls(model: nn.Module, example: tuple[Tensor, ...]) -> dict[str, _Call]:
    """What each module was given and gave back on `example`, in the order they ended; a module's last call counts."""
    calls: dict[str, _Call] = {}

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        calls.pop(name, None)
        calls[name] = _Call(name=name, module=module, given=_first([*inputs, *named.values()]), gave=_first(output))

    hooks = [
        module.register_forward_hook(
            lambda module, inputs, named, output, name=name: note(name, module, inputs, named, output), with_kwargs=True
        )
        for name, module in model.named_modules()
    ]
    was_training = model.training
    try:
        with torch.no_grad(), heads.without_fast_path():
            model.eval()(*example)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return calls


def _first(values: Any) -> Tensor | None:
    """The first of several values where that is a tensor of numbers."""
    first = values if isinstance(values, Tensor) else next(iter(values), None) if isinstance(values, Sequence) else None
    return first if isinstance(first, Tensor) and first.is_floating_point() else None


def _watch(module: nn.Module, name: str, side: str, seen: dict[tuple[str, str], Tensor]) -> RemovableHandle:
    """Put what the module is given, or gives back, into `seen` when it is called."""

    def enter(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = [*inputs, *named.values()]
        seen[name, side] = given[0] if side == "input" else _projections(module, given[:3])

    def leave(_: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        seen[name, side] = output[0] if isinstance(output, tuple) else output

    if side == "output":
        return module.register_forward_hook(leave)
    return module.register_forward_pre_hook(enter, with_kwargs=True)


def _projections(attention: nn.Module, given: Sequence[Tensor]) -> Tensor:
    """Query, key and value side by side, of shape [batch, positions, 3 width]."""
    assert isinstance(attention, nn.MultiheadAttention)
    weights = attention.in_proj_weight.chunk(3)
    biases = [None] * 3 if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)
    projected = [F.linear(state, weight, bias) for state, weight, bias in zip(given, weights, biases, strict=True)]
    return _state([each if attention.batch_first else each.transpose(0, 1) for each in projected])


def _state(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([*parts], dim=-1)
