"""What every detector does, and what it refuses."""

import math
from typing import Any, Protocol, TypeVar

X = TypeVar("X", contravariant=True)

State = dict[str, Any]
"""What a detector has learnt, as JSON says it."""


FALSE_ALARM_RATE = 1e-3
"""The share of values of steady noise that score 1 or more, at most."""
LARGEST_SCORE = 1e6
"""Of what differs where nothing ever has, such as a value above a window of equal ones."""


class DetectorError(ValueError):
    """A value, a time or a state that a detector cannot take."""


class Detector(Protocol[X]):
    """Says how unusual a value is, given only what it was told to learn before.

    Call `score_one`, then `learn_one` unless the value is part of an incident: a detector learns nothing by scoring,
    for however long. Scores are finite and at least 0; 0 is what a constant series gets. Of steady values, independent
    of each other, at most `FALSE_ALARM_RATE` score 1 or more. What to make of scores `watching` decides.

    Times are seconds, as the sender's or the collector's clock has them: a clock may step.
    """

    def score_one(self, x: X, time_s: float) -> float:
        """How unusual `x` is at `time_s`; learns nothing.

        Raises:
            DetectorError: `x` or `time_s` is not finite.
        """
        ...

    def learn_one(self, x: X, time_s: float) -> None:
        """Take `x` as an example of what is usual.

        Raises:
            DetectorError: `x` or `time_s` is not finite.
        """
        ...

    def expected(self, time_s: float) -> tuple[float, float]:
        """The range in which values usually lie at `time_s`."""
        ...

    def state(self) -> State:
        """All that was learnt, as JSON."""
        ...

    def restore(self, state: State) -> None:
        """Go on from what `state` returned, by a detector with the same settings.

        Raises:
            DetectorError: it is not a state of such a detector.
        """
        ...


def require_finite(x: float, time_s: float) -> None:
    """Refuse NaN and infinity.

    Raises:
        DetectorError: one of them is not finite.
    """
    if not math.isfinite(x):
        raise DetectorError(f"a value must be finite, got {x}; leave it out")
    if not math.isfinite(time_s):
        raise DetectorError(f"a time must be finite, got {time_s}")


def numbers(state: State, name: str, *, num: int | None = None) -> list[float]:
    """The finite numbers under `name`, `num` of them where it is given.

    Raises:
        DetectorError: there are none, or they are not that many finite numbers.
    """
    found = state.get(name)
    if not isinstance(found, list) or not all(map(_is_number, found)) or (num is not None and len(found) != num):
        many = "finite numbers" if num is None else f"{num} finite numbers"
        raise DetectorError(f"state.{name} must be a list of {many}, got {found!r:.80}; learn anew")
    return [float(x) for x in found]


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
