"""The cascade that a classifier was calibrated for: it answers what it is sure of itself, its teacher the rest.

    outputs -> logits -> divided by the temperature -> probability of the answer -> the threshold at least? its own

It is measured by `optimization.cascade` and followed by `deployments.cascade.cascade`; both ask `sure` here.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Form = Literal["logits", "probabilities"]
"""What a classifier's output may be."""

_LEAST = 1e-12
"""Probabilities below count as this, so that their logarithm is a number."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Share(_Model):
    """A share of the held-out examples, with its 95 % interval."""

    value: float
    low: float
    high: float


class Point(_Model):
    """What another threshold would have come to on the held-out examples."""

    share_sent: float
    accuracy: float


class OnHeldOut(_Model):
    """What came of the threshold on held-out examples, which chose nothing."""

    num_samples: int
    student: Share
    """Accuracy of the student alone."""
    teacher: Share
    cascade: Share
    sent: Share
    """Examples that the teacher is asked for."""
    lost: Share
    """Examples that the student answers wrongly and the teacher would have answered rightly: what the budget bounds."""
    drop: Share
    """The teacher's accuracy less the cascade's, an interval of paired proportions; at most what is lost."""
    curve: tuple[Point, ...]
    """Of all thresholds, by the share that is sent on."""


class Cascade(_Model):
    """When the student is sure enough, and how that was found."""

    teacher: str
    """`name/version` of the artifact that answers the rest."""
    form: Form
    """What the student's first output is."""
    temperature: float = Field(gt=0)
    """Divides the student's logits, so that the probability of its answer is about how often that is right."""
    threshold: float = Field(ge=0, le=1)
    """Least such probability that the student answers with; 0 never asks the teacher."""
    max_loss: float
    """Most examples, as a share, that the student may answer wrongly where the teacher would have been right."""
    confidence: float
    """How sure it is that no more are lost, of examples like those that the threshold was chosen on."""
    bound: float
    """Share that is lost at most, with that confidence."""
    num_lost: int
    """Examples that were lost among those that the threshold was chosen on."""
    num_samples: int
    """Validation examples that the threshold was chosen on."""
    num_temperature: int
    """Other validation examples, that the temperature was fitted on."""
    held_out: OnHeldOut
    student_s: dict[int, float]
    """Median seconds of a call of the student by batch size, taking turns with the teacher."""
    teacher_s: dict[int, float]

    def expected_s(self, batch_size: int) -> float:
        """Seconds that a batch takes, were as large a share sent on as of the held-out examples."""
        return self.student_s[batch_size] + self.held_out.sent.value * self.teacher_s[batch_size]

    def sure(self, outputs: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows of the student's first output, of shape [samples, outputs], it answers itself; NaN is not sure."""
        return np.asarray(confidence(logits(outputs, self.form), self.temperature) >= self.threshold)


def logits(outputs: NDArray[Any], form: Form) -> NDArray[np.float64]:
    """A classifier's outputs as logits; of probabilities, those that a softmax or a sigmoid makes these of."""
    wide = outputs.astype(np.float64)
    if form == "logits":
        return wide
    bounded = np.clip(wide, _LEAST, 1 - _LEAST) if wide.shape[1] == 1 else np.clip(wide, _LEAST, None)
    found = np.log(bounded)
    return found - np.log1p(-bounded) if wide.shape[1] == 1 else found


def confidence(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probability of the likeliest class, of shape [samples]; a single logit is the second class's against the first.

    (Guo 2017, arXiv:1706.04599)
    """
    scaled = logits / temperature
    if scaled.shape[1] == 1:
        return np.asarray(1 / (1 + np.exp(-np.abs(scaled[:, 0]))))
    return np.asarray(1 / np.exp(scaled - scaled.max(axis=1, keepdims=True)).sum(axis=1))
