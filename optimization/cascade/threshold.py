"""Chooses how sure the student must be, so that not more than a budget is lost: a bound, not an estimate.

An example is lost where the student is sure, wrong, and the teacher would have been right. The higher the threshold,
the fewer are lost, on any examples; so what is bounded at one threshold is bounded above it too. Of such losses

    on average      no more than the budget is lost by the lowest threshold at which (lost + 1) / (n + 1) keeps it
                    (conformal risk control, Angelopoulos 2022, arXiv:2208.02814)
    with confidence no more is lost by the lowest one at which the exact upper bound of a proportion keeps it
                    (Bates 2021, arXiv:2101.02703; Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404)

Both are asked for. They hold for examples that are drawn as the validation examples were, which must have chosen
neither model.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_HALVINGS = 60


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A threshold, and what is known of it."""

    threshold: float
    """Least confidence that the student answers with; 0 where it may answer everything."""
    num_lost: int
    bound: float
    """Share that is lost at most, with the confidence asked for."""


def choose(
    confidences: NDArray[np.float64], lost: NDArray[np.bool_], max_loss: float, confidence: float
) -> Choice | None:
    """The lowest threshold that keeps the budget; none where even the surest answers may break it.

    `lost` says which examples would be, did the student answer them; both are of shape [samples].
    """
    num = len(confidences)
    allowed = most_lost(num, max_loss, confidence)
    if allowed is None:
        return None
    lost_ones = np.sort(confidences[lost])[::-1]
    if len(lost_ones) <= allowed:
        return Choice(threshold=0.0, num_lost=len(lost_ones), bound=upper_bound(len(lost_ones), num, confidence))
    above = confidences[confidences > lost_ones[allowed]]
    if not len(above):
        return None
    threshold = float(above.min())
    num_lost = int((lost_ones >= threshold).sum())
    return Choice(threshold=threshold, num_lost=num_lost, bound=upper_bound(num_lost, num, confidence))


def most_lost(num: int, max_loss: float, confidence: float) -> int | None:
    """Examples of `num` that may be lost where no more than `max_loss` shall be; none where `num` proves nothing."""
    allowed = -1
    below = 0.0
    for lost in range(num):
        below += _chance(lost, num, max_loss)
        if below > 1 - confidence or lost + 1 > max_loss * (num + 1):
            break
        allowed = lost
    return None if allowed < 0 else allowed


def num_needed(max_loss: float, confidence: float) -> int:
    """Fewest examples that can prove that no more than `max_loss` is lost: by losing none of them."""
    return max(math.ceil(math.log(1 - confidence) / math.log1p(-max_loss)), math.ceil(1 / max_loss) - 1)


def upper_bound(lost: int, num: int, confidence: float) -> float:
    """The share that the true one exceeds with a chance of at most 1 - `confidence`, when `lost` of `num` were lost."""
    low, high = lost / num, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at_most = sum(_chance(each, num, middle) for each in range(lost + 1))
        low, high = (middle, high) if at_most > 1 - confidence else (low, middle)
    return high


def _chance(lost: int, num: int, share: float) -> float:
    """That exactly `lost` of `num` are lost, each with a chance of `share`."""
    if share >= 1:
        return float(lost == num)
    if share <= 0:
        return float(lost == 0)
    ways = math.lgamma(num + 1) - math.lgamma(lost + 1) - math.lgamma(num - lost + 1)
    return math.exp(ways + lost * math.log(share) + (num - lost) * math.log1p(-share))
