"""The recipes a search tries: its recipe's steps with other settings, one value of each choice at a time.

    search.choices: {prune.ratio: [0.3, 0.5], quantize: [true, false]}  ─▶  four variants

Data and teacher are not among the choices: all trials learn from the same teacher and answer the same examples.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from optimization.errors import RecipeError
from optimization.recipe import wording
from optimization.recipe.methods import Distill, Prune, Quantize, Sparsify, Training
from optimization.recipe.recipe import Recipe, Search, parse

_SPARE = 10
"""Combinations drawn for each trial: some may come to the same recipe, as those do that leave a step out."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One combination of the choices."""

    settings: dict[str, Any]
    """Its value of each choice."""
    recipe: Recipe
    """The recipe with these values, without the search."""


def variants(recipe: Recipe) -> tuple[Variant, ...]:
    """What the recipe's search tries; the same ones at every call.

    Where there are more combinations than trials, those tried are drawn at random: with few settings that matter, that
    covers each of them better than a coarser grid (Bergstra and Bengio 2012, JMLR 13:281).

    Raises:
        RecipeError: a choice names no setting of a step, or a value breaks the setting's rule.
    """
    assert recipe.search is not None, "asked of a search"
    _check(recipe, recipe.search)
    names, values = list(recipe.search.choices), list(recipe.search.choices.values())
    num_all = math.prod(map(len, values))
    drawn = random.Random(recipe.seed).sample(range(num_all), min(num_all, _SPARE * recipe.search.trials))
    found: dict[str, Variant] = {}
    for number in drawn:
        variant = _variant(recipe, dict(zip(names, _combination(number, values), strict=True)))
        found.setdefault(variant.recipe.sha256, variant)
        if len(found) == recipe.search.trials:
            break
    return tuple(found.values())


def trainings(recipe: Recipe) -> dict[str, tuple[Training, int]]:
    """How each step trains and for how many epochs in all; without the teacher and the control."""
    found: dict[str, tuple[Training, int]] = {}
    for step in recipe.steps:
        match step:
            case Distill():
                found[step.kind] = step.training, step.training.epochs
            case Prune():
                first = step.score in ("taylor", "movement")  # an epoch that gathers the first scores
                found[step.kind] = step.recovery, step.recovery.epochs * step.stages + first
            case Sparsify(recovery=Training() as recovery):
                found[step.kind] = recovery, recovery.epochs * step.stages
            case Quantize(training=Training() as training):
                found[step.kind] = training, training.epochs
    return found


def num_epochs(recipe: Recipe) -> int:
    """Epochs of all that is trained after the teacher, without the control."""
    return sum(num for _, num in trainings(recipe).values())


def _check(recipe: Recipe, search: Search) -> None:
    """Try each value on its own, so that the message names the one that is wrong."""
    wrong: list[str] = []
    for name, values in search.choices.items():
        for value in values:
            try:
                _variant(recipe, {name: value})
            except RecipeError as error:
                wrong.append(f"search.choices: {error}")
    if wrong:
        raise RecipeError("\n".join(dict.fromkeys(wrong)))


def _combination(number: int, values: list[tuple[Any, ...]]) -> Iterator[Any]:
    """The combination of that number, counted as on a clock: one value of each choice."""
    for each in values:
        number, position = divmod(number, len(each))
        yield each[position]


def _variant(recipe: Recipe, settings: dict[str, Any]) -> Variant:
    raw = recipe.model_dump(mode="json", exclude={"search"})
    left_out = {name for name, value in settings.items() if "." not in name and value is False}
    for name, value in settings.items():
        if name.partition(".")[0] not in left_out:
            _set(raw["steps"], name, value)
    raw["steps"] = [step for step in raw["steps"] if step["kind"] not in left_out]
    return Variant(settings=settings, recipe=parse(raw))


def _set(steps: list[dict[str, Any]], name: str, value: Any) -> None:
    """Give the setting `name`, such as `prune.ratio`, another value."""
    kind, *path = name.split(".")
    kinds = [step["kind"] for step in steps]
    if kind not in kinds:
        raise RecipeError(f"{name!r} must begin with a step of this recipe{wording.nearest(kind, kinds)}")
    if not path:
        if not isinstance(value, bool):
            raise RecipeError(f"{name!r} alone must be true or false, whether the step is taken, got {value!r}")
        return
    place = steps[kinds.index(kind)]
    for part in path[:-1]:
        inner = place.get(part)
        if not isinstance(inner, dict):
            hint = wording.nearest(part, list(place))
            raise RecipeError(f"{name!r} must name a setting: {part!r} has none below it{hint}")
        place = inner
    place[path[-1]] = value
