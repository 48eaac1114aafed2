"""What a student learns from states inside its teacher: which are paired, and how far apart they are.

    settings, student, teacher ─▶ pair_states ─▶ StatePairs ─▶ StudentWithStates gives its states, projected ─▶ loss

Every loss is of shape [batch] and depends on its own example alone, so that workers may share a batch as they like.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from torch import Tensor, nn

from optimization.distillation import taps
from optimization.distillation.taps import Tap
from optimization.errors import RecipeError
from optimization.recipe.teaching import Attention, Hidden, Transfer

_MASKED = -1e4
"""Added to the scores of padding, before the softmax."""
_NEEDS = {
    "hidden": "a stack of layers that take and give [batch, positions, width]",
    "attention": "an attention with layers for query, key and value",
    "pooled": "a fully connected layer that takes [batch, width] and comes last",
    "features": "stages of convolutions whose pictures have the same size in both",
}


@dataclass(frozen=True, kw_only=True)
class StatePair:
    """States of a student, and those of its teacher that they are to become."""

    weight: float
    student: tuple[Tap, ...]
    teacher: tuple[Tap, ...]
    """As many as the student's."""
    relation_heads: int | None = None
    """Of the last attention, whose relations are compared; none where states are compared as they are."""


def pair_states(
    wanted: Iterable[Transfer], student: nn.Module, teacher: nn.Module, example: tuple[Tensor, ...], where: str
) -> tuple[StatePair, ...]:
    """Pair the student's states with the teacher's for each transfer that the settings `where` want.

    Raises:
        RecipeError: one of the models has no such states, or they cannot be paired.
    """
    return tuple(_state_pair(each, student, teacher, example, f"{where}.transfer.{each.kind}") for each in wanted)


class StudentWithStates(nn.Module):
    """A student that gives the states its state_pairs name beside its logits.

    States that are narrower or wider than the teacher's pass through a projection, which is trained with the student.
    """

    def __init__(self, student: nn.Module, state_pairs: Sequence[StatePair]) -> None:
        super().__init__()
        self.student = student
        self.taps = tuple(tap for each in state_pairs for tap in each.student)
        self.projections = nn.ModuleList(
            _projection(own, wanted) if each.relation_heads is None else nn.Identity()
            for each in state_pairs
            for own, wanted in zip(each.student, each.teacher, strict=True)
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits, and a state for each tap of the state_pairs."""
        logits, states = taps.read(self.student, self.taps, inputs)
        return logits, tuple(project(state) for project, state in zip(self.projections, states, strict=True))


class TeacherWithStates(nn.Module):
    """A teacher whose pooled state stands beside its logits, so that both can be kept: [batch, outputs + width]."""

    def __init__(self, teacher: nn.Module, pooled: tuple[Tap, ...]) -> None:
        super().__init__()
        self.teacher = teacher
        self.pooled = pooled

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits, then the pooled state."""
        logits, states = taps.read(self.teacher, self.pooled, inputs)
        return torch.cat([logits, *states], dim=1)


def loss(
    state_pairs: Sequence[StatePair], states: Sequence[Tensor], wanted: Sequence[Tensor], mask: Tensor | None = None
) -> Tensor:
    """The weighted sum over all pairs, of shape [batch]; the mask [batch, positions] is 0 for padding, left out."""
    pairs = zip(states, wanted, strict=True)
    losses = []
    for each in state_pairs:
        own = [(state.float(), other.float()) for state, other in islice(pairs, len(each.student))]
        heads = each.relation_heads
        apart = [distance(*pair, mask) if heads is None else relation_loss(*pair, heads, mask) for pair in own]
        losses.append(each.weight * torch.stack(apart).mean(dim=0))
    return torch.stack(losses).sum(dim=0)


def distance(state: Tensor, wanted: Tensor, mask: Tensor | None = None) -> Tensor:
    """Squared difference of two states as a share of the wanted one's square, of shape [batch]."""
    if mask is not None and mask.shape == wanted.shape[:2]:
        state, wanted = state * mask[:, :, None], wanted * mask[:, :, None]
    apart, size = ((each.flatten(1).square().sum(dim=1)) for each in (state - wanted, wanted))
    return apart / size.clamp_min(1e-12)


def relation_loss(state: Tensor, wanted: Tensor, num_heads: int, mask: Tensor | None = None) -> Tensor:
    """KL divergences of attention and of the values' relation, both from query, key and value side by side.

    Each relation head's is averaged over the positions of a text; of shape [batch] (Wang 2020, arXiv:2002.10957; any
    number of heads as in arXiv:2012.15828).
    """
    is_padded = mask is not None and mask.shape == wanted.shape[:2]
    counted = mask.to(wanted.dtype) if mask is not None and is_padded else torch.ones_like(wanted[:, :, 0])
    total = torch.zeros_like(wanted[:, 0, 0])
    for first, second in ((0, 1), (2, 2)):  # query with key, value with value
        own, other = (_relation(each, first, second, num_heads, counted) for each in (state, wanted))
        apart = F.kl_div(own, other, reduction="none", log_target=True).sum(dim=3).mean(dim=1)
        total = total + (apart * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1)
    return total


def _relation(state: Tensor, first: int, second: int, num_heads: int, counted: Tensor) -> Tensor:
    """Log-softmax of the scaled products of two of the three parts of a state: [batch, heads, positions, positions]."""
    parts = [part.reshape(*part.shape[:2], num_heads, -1).transpose(1, 2) for part in state.chunk(3, dim=2)]
    one, other = parts[first], parts[second]
    scores = one @ other.transpose(2, 3) / math.sqrt(one.shape[3])
    return torch.log_softmax(scores + ((1 - counted) * _MASKED)[:, None, None, :], dim=3)


def _state_pair(
    wanted: Transfer, student: nn.Module, teacher: nn.Module, example: tuple[Tensor, ...], name: str
) -> StatePair:
    own, others = (taps.find(wanted.kind, model, example) for model in (student, teacher))
    for model, found in (("student", own), ("teacher", others)):
        if not found:
            raise RecipeError(f"{name} needs {_NEEDS[wanted.kind]}, got a {model} that has none: leave it out")
    relation_heads = None
    match wanted:
        case Hidden():
            others = _mapped(own, others, wanted.layers, name)
        case Attention():
            relation_heads = _relation_heads(own[0], others[0], wanted.relation_heads, name)
        case _:
            own, others = _of_one_size(own, others)
            if not own:
                raise RecipeError(f"{name} needs {_NEEDS[wanted.kind]}, got none: leave it out")
    return StatePair(weight=wanted.weight, student=own, teacher=others, relation_heads=relation_heads)


def _mapped(
    own: tuple[Tap, ...], others: tuple[Tap, ...], layers: tuple[int, ...] | None, name: str
) -> tuple[Tap, ...]:
    """The teacher's state for each of the student's; the first of both are embeddings."""
    num_own, num_others = len(own) - 1, len(others) - 1
    if layers is None:
        return tuple(others[round(number * num_others / num_own)] for number in range(num_own + 1))
    if len(layers) != num_own:
        raise RecipeError(f"{name}.layers must be as many as the student has ({num_own}), got {len(layers)}")
    beyond = [layer for layer in layers if layer >= num_others]
    if beyond:
        raise RecipeError(f"{name}.layers must name layers in [0, {num_others}), got {beyond[0]}")
    return others[0], *(others[layer + 1] for layer in layers)


def _relation_heads(own: Tap, other: Tap, wanted: int | None, name: str) -> int:
    common = math.gcd(own.width, other.width)
    if wanted is None:
        return max(heads for heads in range(1, other.num_heads + 1) if common % heads == 0)
    if common % wanted:
        raise RecipeError(f"{name}.relation_heads must divide the widths {own.width} and {other.width}, got {wanted}")
    return wanted


def _of_one_size(own: tuple[Tap, ...], others: tuple[Tap, ...]) -> tuple[tuple[Tap, ...], tuple[Tap, ...]]:
    """The states of both whose pictures have the same size."""
    by_size = {tap.sides: tap for tap in others}
    kept = tuple(tap for tap in own if tap.sides in by_size)
    return kept, tuple(by_size[tap.sides] for tap in kept)


def _projection(own: Tap, wanted: Tap) -> nn.Module:
    if own.width == wanted.width:
        return nn.Identity()
    match len(own.sides):
        case 0:
            return nn.Linear(own.width, wanted.width)
        case 1:
            return nn.Conv1d(own.width, wanted.width, kernel_size=1)
        case _:
            return nn.Conv2d(own.width, wanted.width, kernel_size=1)
