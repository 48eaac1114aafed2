"""Judges what a model answers by a measure: its value, an interval, and how much worse it is than another model.

    read, labels ─▶ judge ─▶ Judged ─▶ quality │ compare two ─▶ Pairs, Resampled (paired.py)

Of right and wrong answers Wilson's interval and Tango's test are used. Any other measure is taken of examples drawn
with replacement (Efron 1979, Annals of Statistics 7:1), the same draws for all models, so that the difference of two
is not widened by what both met.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.artifact.manifest import Quality
from optimization.errors import DataError
from optimization.measuring import evaluate
from optimization.measuring.measures import Array, Measure
from optimization.measuring.paired import Pairs, Resampled
from optimization.tasks.task import LabelledTask

NUM_RESAMPLES, _AT_ONCE = 500, 50
_ENDS = (0.025, 0.975)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One model on some examples."""

    measure: Measure
    value: float
    num_samples: int
    right: NDArray[np.bool_] | None = None
    """Which answers are right, where the measure is their share."""
    resampled: NDArray[np.float64] | None = None
    """Else the measure of each draw; no number where it is undefined."""

    def quality(self) -> Quality:
        """The value with its 95 % interval."""
        if self.right is not None:
            return evaluate.quality(self.right, self.measure.title)
        assert self.resampled is not None, "one of the two is known"
        low, high = np.nanquantile(self.resampled, _ENDS)
        return Quality(
            metric=self.measure.title,
            value=self.value,
            low=min(float(low), self.value),
            high=max(float(high), self.value),
            num_samples=self.num_samples,
            is_share=self.measure.is_share,
            lower_is_better=self.measure.lower_is_better,
        )


def judge(measure: Measure, task: LabelledTask, read: NDArray[np.float32], labels: Array) -> Judged:
    """What the measure says of a model's outputs, as the task has read them; equal calls draw alike.

    Raises:
        DataError: the measure is no number.
    """
    per_example, value = measure.per_example(task, read, labels), measure.of(task, read, labels)
    if not math.isfinite(value):
        raise DataError(f"{measure.name} must be a number for what each model answers, got {value}")
    if per_example is not None and per_example.dtype == np.bool_:
        return right(measure, per_example)
    resampled: list[float] = []
    for draws in _draws(len(labels if per_example is None else per_example)):
        if per_example is not None:
            resampled += measure.combined(per_example[draws].sum(axis=1), len(per_example)).tolist()
        else:
            resampled += [measure.of(task, read[rows], labels[rows]) for rows in draws]
    return Judged(measure=measure, value=value, num_samples=len(labels), resampled=np.array(resampled))


def _draws(num: int) -> Iterator[NDArray[np.int64]]:
    """Rows drawn with replacement, of shape [draws, rows], a part of the draws at a time."""
    random = np.random.default_rng(0)
    for _ in range(NUM_RESAMPLES // _AT_ONCE):
        yield random.integers(0, num, (_AT_ONCE, num))


def right(measure: Measure, is_right: NDArray[np.bool_]) -> Judged:
    """What the measure says, being the share of right answers."""
    return Judged(measure=measure, value=float(is_right.mean()), num_samples=len(is_right), right=is_right)


def compare(reference: Judged, other: Judged) -> Pairs | Resampled:
    """How much worse the other model is than the reference, on the same examples."""
    if reference.right is not None and other.right is not None:
        return Pairs.of(reference.right, other.right)
    assert reference.resampled is not None and other.resampled is not None, "both were judged by one measure"
    measure, sign = reference.measure, -1 if reference.measure.lower_is_better else 1
    apart = sign * (reference.resampled - other.resampled)
    return Resampled(
        drop=measure.drop(reference.value, other.value),
        drops=apart[np.isfinite(apart)],
        num_samples=reference.num_samples,
    )


def shortfall(measure: Measure, teacher: float, other: float, max_drop: float) -> float:
    """What a model lacks to lose no more than is allowed; 0 where that is not known."""
    lost = measure.drop(teacher, other) - max_drop
    return max(0.0, lost) if math.isfinite(lost) else 0.0
