"""Gradual pruning: how much is gone after each stage (Zhu & Gupta 2017, arXiv:1710.01878).

Much goes while the model is still rich, little at the end; between two stages it recovers.
"""

from collections.abc import Iterator


def cubic(final: float, stage: int, num_stages: int) -> float:
    """Fraction that is gone after `stage` of `num_stages` stages, counted from 1; `final` after the last."""
    return final * (1 - (1 - stage / num_stages) ** 3)


def cuts(final: float, num_stages: int) -> Iterator[float]:
    """What each stage cuts, as a fraction of what the stages before it left."""
    gone = 0.0
    for stage in range(1, num_stages + 1):
        target = cubic(final, stage, num_stages)
        yield (target - gone) / (1 - gone)
        gone = target
