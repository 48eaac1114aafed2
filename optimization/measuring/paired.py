"""Compares two models on the same examples: how much quality one loses against the other, and how sure that is.

Of right and wrong answers, only examples on which exactly one of them is right say anything. Tango's score test (Tango
1998, Statistics in Medicine 17:891) stays honest where they are few, as between a teacher and its student; where no
drop is allowed it is McNemar's. Of other measures, the differences of resampled ones say how sure that is (Efron 1979).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Two models' answers to the same examples, counted."""

    num_lost: int
    """Examples that only the first model, the reference, gets right."""
    num_won: int
    """Examples that only the second model gets right."""
    num_samples: int

    @classmethod
    def of(cls, reference: NDArray[np.bool_], other: NDArray[np.bool_]) -> Self:
        """Count the pairs; each says which answers are right, and is of shape [samples]."""
        lost, won = int((reference & ~other).sum()), int((other & ~reference).sum())
        return cls(num_lost=lost, num_won=won, num_samples=len(reference))

    @property
    def drop(self) -> float:
        """Accuracy of the reference less that of the other."""
        return (self.num_lost - self.num_won) / self.num_samples

    def more(self, times: float) -> "Pairs":
        """What so many times as many examples would say, were the answers to them alike."""
        return Pairs(
            num_lost=round(self.num_lost * times),
            num_won=round(self.num_won * times),
            num_samples=round(self.num_samples * times),
        )


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Two models by a measure of examples drawn with replacement, the same draws for both."""

    drop: float
    """How much worse the second model is, on the examples as they are."""
    drops: NDArray[np.float64]
    """The same of each draw on which the measure is defined."""
    num_samples: int

    def more(self, times: float) -> "Resampled":
        """What so many times as many examples would say: the draws lie nearer together."""
        drops = self.drop + (self.drops - self.drop) / math.sqrt(times)
        return Resampled(drop=self.drop, drops=drops, num_samples=round(self.num_samples * times))


Comparison = Pairs | Resampled


def score(pairs: Pairs, drop: float) -> float:
    """Standard errors the observed drop lies above `drop`, in [-1, 1], were that the true one; about normal then."""
    num, lost, won = pairs.num_samples, pairs.num_lost, pairs.num_won
    # The likeliest share of examples that only the other model gets right, given the drop: a root of its likelihood.
    linear = (2 * num - lost + won) * drop - lost - won
    share = (math.sqrt(max(0.0, linear**2 + 8 * num * won * drop * (1 - drop))) - linear) / (4 * num)
    variance = num * (2 * share + drop * (1 - drop))
    difference = lost - won - num * drop
    if variance <= 0:
        return 0.0 if abs(difference) < 1e-9 else math.copysign(math.inf, difference)
    return difference / math.sqrt(variance)


def p_value(pairs: Comparison, max_drop: float) -> float:
    """How often a model that loses `max_drop` or more would look as good as this one; small proves it loses less.

    By resampling it is never less than one of the number of draws, however good the model looks.
    """
    if isinstance(pairs, Resampled):
        return (1 + int((pairs.drops >= max_drop).sum())) / (1 + len(pairs.drops))
    return _NORMAL.cdf(score(pairs, max_drop))


def interval(pairs: Comparison, confidence: float = 0.95) -> tuple[float, float]:
    """Lowest and highest drop that the answers are compatible with."""
    if isinstance(pairs, Resampled):
        low, high = np.quantile(pairs.drops, ((1 - confidence) / 2, (1 + confidence) / 2))
        return float(low), float(high)
    z = _NORMAL.inv_cdf((1 + confidence) / 2)
    return (
        _root(lambda drop: score(pairs, drop) - z, -1.0, pairs.drop),
        _root(lambda drop: score(pairs, drop) + z, pairs.drop, 1.0),
    )


def upper_bound(pairs: Comparison, confidence: float = 0.95) -> float:
    """The drop that the true one stays below with this confidence."""
    return interval(pairs, 2 * confidence - 1)[1]


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which claims stand when all are tested at once; any false one stands with a chance of at most `level`.

    It holds whatever the dependence between them (Holm 1979, Scandinavian CheckpointStore of Statistics 6:65).
    """
    stands = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > level / (len(p_values) - rank):
            break
        stands[index] = True
    return stands


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls from `low` to `high` crosses zero; the end it does not cross before."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
