"""Structured pruning: cut neurons, channels, attention heads and whole layers, and what depends on them elsewhere.

    model ─▶ prepare ─▶ score (scores.py) ─▶ choose (layers: depth.py) ─▶ cut (units.py, stacks.py) ─▶ check ─▶ smaller

Nothing is trusted: every cut model must compute what the original computes with the same units masked.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from optimization.errors import PruneError
from optimization.pruning import depth, heads, schedule, scores, shortcuts, stacks, units
from optimization.pruning.scores import Criterion, Saliency
from optimization.pruning.units import Cuts, Group
from optimization.recipe.methods import Prune

TOLERANCE = 1e-5
"""How far the smaller model's logits may be from those of the masked original; for logits above 1, in proportion."""

_LEAST_GLOBAL = 0.1
"""Share of a layer's units that always stays when layers compete: a layer of one unit ends training."""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much to cut."""

    hidden: float = 0.0
    """Fraction of neurons, channels and feed-forward units, in [0, 1)."""
    heads: float = 0.0
    """Fraction of attention heads."""
    layers: float = 0.0
    """Fraction of the layers that can be left out."""
    min_score: float | None = None
    """In place of `hidden`: units that score below this share of their layer's mean go."""
    scope: Literal["layer", "global"] = "layer"
    """Whether every layer, or stack of layers, loses the fraction, or all together."""
    round_to: int = 1
    """The number of hidden units that stay is a multiple of this where the layer is wide enough."""
    keep: tuple[str, ...] = ()
    """Layers that stay whole, by the beginning of their name."""


def prepare(model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
    """A copy of `model` that computes the same in a form that can be cut.

    torch's attention gets a layer for each projection, and shortcuts that pad channels become convolutions. A model
    without either is copied as it is.
    """
    prepared = copy.deepcopy(model).eval()
    for name, module in list(prepared.named_modules()):
        if heads.can_slim(module):
            heads.slim(prepared, name)
    for name, shortcut in shortcuts.find(prepared, example).items():
        prepared.set_submodule(name, shortcut)
    with heads.without_fast_path():
        check(copy.deepcopy(model).eval(), prepared, example)
    return prepared


def amounts(step: Prune) -> Iterator[Amount]:
    """How much each stage of `step` cuts, as fractions of what the stages before it left."""
    shares = (schedule.cuts(ratio or 0.0, step.stages) for ratio in (step.ratio, step.heads, step.layers))
    for hidden, of_heads, layers in zip(*shares, strict=True):
        yield Amount(
            hidden=hidden,
            heads=of_heads,
            layers=layers,
            min_score=step.min_score,
            scope=step.scope,
            round_to=step.round_to,
            keep=step.keep,
        )


def prune(
    model: nn.Module,
    amount: Amount,
    example: tuple[Tensor, ...],
    criterion: Criterion = "magnitude",
    seed: int = 0,
    trained: Saliency | None = None,
    costs: Mapping[str, float] = MappingProxyType({}),
) -> nn.Module:
    """Return a copy of `model`, as `prepare` made it, without what `criterion` scores lowest.

    Every layer keeps at least one unit and every stack one layer. `example` are inputs to trace and check with; scores
    of gradients are those `trained` gathered, `seed` is chance's, `costs` those of a layer of each stack.

    Raises:
        PruneError: the model cannot be cut, or the copy does not compute what the masked original computes.
    """
    model = copy.deepcopy(model).eval()
    saliency = scores.saliency(model, criterion, seed, trained)
    gone = depth.weakest(model, amount.layers, amount.scope, example, saliency, criterion, costs)
    found = _groups(model, amount, example, gone)
    cuts = choose(found, saliency, amount, criterion)
    smaller = stacks.without(units.cut(model, cuts), gone)
    smaller.zero_grad()
    masked = units.mask(model, cuts)
    with stacks.bypassed(masked, gone):
        _check_naming(model, masked, smaller, example, cuts)
    return smaller


def refuse(model: nn.Module, amount: Amount, example: tuple[Tensor, ...]) -> None:
    """Raise what `prune` would raise where `model` has nothing of what is to be cut."""
    if amount.layers:
        depth.removable(model, example)
    _groups(model, amount, example, {})


def _groups(model: nn.Module, amount: Amount, example: tuple[Tensor, ...], gone: depth.Layers) -> list[Group]:
    """The units that can be cut of what stays when the layers `gone` are left out."""
    dropped = tuple(stacks.layer_name(stack, index) for stack, indices in gone.items() for index in indices)
    found = units.groups(model, example, keep=(*amount.keep, *dropped))
    if amount.heads and not any(group.is_attention for group in found):
        raise PruneError("prune.heads needs attention with a projection each for queries, keys and values, got none")
    if not amount.layers and not found:
        raise PruneError("prune found nothing to cut: no hidden layer feeds another without mixing its units first")
    return found


def choose(groups: Sequence[Group], saliency: Saliency, amount: Amount, criterion: Criterion) -> Cuts:
    """Which units of each group go: the lowest scores first."""
    hidden = [group for group in groups if not group.is_attention]
    attention = [group for group in groups if group.is_attention]
    return [
        *_choose(hidden, saliency, amount, amount.hidden, amount.round_to, criterion),
        *_choose(attention, saliency, amount, amount.heads, 1, criterion),
    ]


def num_units_kept(num_units: int, ratio: float, round_to: int) -> int:
    """How many of a layer's units stay: a multiple of `round_to` where the layer is that wide, and at least one."""
    multiples = round(num_units * (1 - ratio) / round_to)
    return min(num_units, max(1, multiples) * round_to)


def check(original: Callable[..., object], smaller: Callable[..., object], example: tuple[Tensor, ...]) -> None:
    """Compare the outputs of two models on `example`.

    Raises:
        PruneError: they differ by more than `TOLERANCE`.
    """
    with torch.inference_mode():
        expected, got = original(*example), smaller(*example)
    assert isinstance(expected, Tensor) and isinstance(got, Tensor), "models give logits"
    if expected.shape != got.shape:
        raise PruneError(f"the pruned model must put out {list(expected.shape)}, got {list(got.shape)}")
    difference = float((expected - got).abs().max()) / max(1.0, float(expected.abs().max()))
    if not difference <= TOLERANCE:
        raise PruneError(f"the pruned model must equal the masked original to {TOLERANCE}, got {difference} apart")


def _choose(
    groups: Sequence[Group], saliency: Saliency, amount: Amount, ratio: float, round_to: int, criterion: Criterion
) -> Cuts:
    if not groups or (ratio == 0 and amount.min_score is None):
        return []
    strengths = [group.scores(saliency, reduce="mean" if criterion == "magnitude" else "sum") for group in groups]
    if criterion == "magnitude":  # layers of other shapes have other norms
        strengths = [strength / strength.mean().clamp_min(1e-12) for strength in strengths]
    cuts = []
    for group, strength, wanted in zip(groups, strengths, _num_kept(strengths, amount, ratio, round_to), strict=True):
        weakest = strength.argsort(stable=True)[: group.num_units - wanted]
        if len(weakest):
            cuts.append((group, weakest.sort().values))
    return cuts


def _num_kept(strengths: Sequence[Tensor], amount: Amount, ratio: float, round_to: int) -> list[int]:
    """How many units of each group stay."""
    if amount.min_score is not None and ratio == 0:
        limits = [amount.min_score * float(strength.mean()) for strength in strengths]
        shares = [float((strength < limit).float().mean()) for strength, limit in zip(strengths, limits, strict=True)]
    elif amount.scope == "global":
        pooled = torch.cat(list(strengths))
        limit = float(pooled.sort().values[round(len(pooled) * ratio)])
        shares = [min(1 - _LEAST_GLOBAL, float((strength < limit).float().mean())) for strength in strengths]
    else:
        shares = [ratio] * len(strengths)
    return [num_units_kept(len(strength), share, round_to) for strength, share in zip(strengths, shares, strict=True)]


def _check_naming(
    model: nn.Module, masked: nn.Module, smaller: nn.Module, example: tuple[Tensor, ...], cuts: Cuts
) -> None:
    """`check`, and where it fails say which layer's cut is to blame."""
    try:
        check(masked, smaller, example)
    except (PruneError, RuntimeError) as error:
        for group, gone in cuts:
            alone = [(group, gone)]
            try:
                check(units.mask(model, alone), units.cut(model, alone), example)
            except (PruneError, RuntimeError):
                raise PruneError(f"{error}; cutting {group.name!r} changes it: name it in prune.keep") from error
        raise PruneError(f"the pruned model does not run: {error}") from error
