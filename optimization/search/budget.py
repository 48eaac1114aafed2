"""Chooses among models by cost, within a quality budget that speaks of all examples, not of those at hand.

A trial is within the budget where a test on the validation examples proves that it loses less than `max_drop` against
the teacher. The more trials are tested, the likelier one looks good by chance; Holm's procedure pays for that, so that
the promise holds for whichever is chosen (Angelopoulos 2021, arXiv:2110.01052, calls this Learn then Test). Trials that
were stopped early were tested too, as far as that goes: they count as proving nothing. What is said of the chosen one
is the outcome of one more test, on held-out examples.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from optimization.artifact.findings import SearchResult
from optimization.measuring import paired
from optimization.measuring.paired import Comparison
from optimization.recipe.recipe import Budget


def proven(pairs: Sequence[Comparison | None], budget: Budget) -> list[bool]:
    """Which trials lie within the budget; None stands for one that was not finished."""
    p_values = [1.0 if each is None else paired.p_value(each, budget.max_drop) for each in pairs]
    return paired.holm(p_values, 1 - budget.confidence)


def choose(pairs: Sequence[Comparison | None], costs: Sequence[float], budget: Budget) -> int:
    """The cheapest trial within the budget, else the one that comes nearest to proving that it is.

    At least one trial must have been finished.
    """
    finished = [index for index, each in enumerate(pairs) if each is not None]
    within = proven(pairs, budget)
    if any(within):
        return min((index for index in finished if within[index]), key=lambda index: costs[index])
    return min(finished, key=lambda index: (_p_value(pairs[index], budget), costs[index]))


def confirmed(found: SearchResult, pairs: Comparison, budget: Budget) -> SearchResult:
    """The result with what the held-out examples prove of the chosen trial, whose answers `pairs` are to them.

    They chose nothing, so that one test is all there is.
    """
    is_proven = paired.p_value(pairs, budget.max_drop) <= 1 - budget.confidence
    needed = None if is_proven else num_samples_needed(pairs, budget, 1)
    return found.model_copy(update={"is_proven": is_proven, "num_samples_needed": needed})


def num_samples_needed(pairs: Comparison, budget: Budget, num_trials: int) -> int | None:
    """Held-out examples that would prove it, were the answers to more of them alike; None where none would.

    `num_trials` are tested, so that the first of them is held to a stricter level.
    """
    if pairs.drop >= budget.max_drop:
        return None
    for times in (1.1**power for power in range(120)):
        more = pairs.more(times)
        if paired.p_value(more, budget.max_drop) <= (1 - budget.confidence) / num_trials:
            return more.num_samples
    return None


def cost(
    target: Literal["latency", "size", "cost"], batch_size: int, *, size_bytes: int, latency_s: Mapping[int, float]
) -> float:
    """What the target makes small: seconds of a call, bytes, or seconds of a CPU per example at the best batch size."""
    match target:
        case "latency":
            return latency_s[batch_size]
        case "size":
            return float(size_bytes)
        case "cost":
            return min(seconds / size for size, seconds in latency_s.items())


def _p_value(pairs: Comparison | None, budget: Budget) -> float:
    assert pairs is not None, "only finished trials are ranked"
    return paired.p_value(pairs, budget.max_drop)
