"""When a series whose past is all there was unlike what came before: a look back, not a watch."""

from collections.abc import Iterable
from dataclasses import dataclass

from telemetry.detectors.surprise import Surprise

QUIET = 100
"""Values after an episode's first that belong to it."""


@dataclass(kw_only=True)
class Episode:
    """A surprising value, and what followed."""

    place: int
    """Of the first value, from 0."""
    time_s: float
    value: float
    expected: tuple[float, float]
    """Where the value by itself would not have been surprising."""
    score: float
    """The highest, 1.0 at the threshold."""


def episodes(times_s: Iterable[float], values: Iterable[float]) -> list[Episode]:
    """Score each value by those before, and learn it whatever it scored: nobody knows how long an incident lasted.

    Raises:
        DetectorError: a time or a value is not finite.
    """
    detector, found = Surprise(), list[Episode]()
    for place, (time_s, x) in enumerate(zip(times_s, values, strict=True)):
        score = detector.score_one(x, time_s)
        if found and place - found[-1].place < QUIET:
            found[-1].score = max(found[-1].score, score)
        elif score >= 1.0:
            expected = detector.expected(time_s)
            found.append(Episode(place=place, time_s=time_s, value=x, expected=expected, score=score))
        detector.learn_one(x, time_s)
    return found
