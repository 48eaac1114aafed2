"""Where to cut: stages of nearly equal time, between which the fewest bytes move (PipeDream, Narayanan 2019, SOSP).

    segment 0 | place 0 | segment 1 | place 1 | ... | segment n

A pipeline answers as fast as its slowest stage. Two passes of dynamic programming over the places: the first finds how
fast the slowest stage can be; the second, among cuts whose slowest stage takes hardly longer, the one that moves least.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from optimization.errors import CutError

SLACK = 0.05
"""What the slowest stage may take more, so that fewer bytes move: about what a measurement is off."""

Seconds = Callable[[int, int], float]
"""Of the stage from one segment to before another."""
_Choice = tuple[float, float, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What lies between two places that are next to each other."""

    seconds: float
    weights: Mapping[str, int]
    """Bytes of the weights it needs, by name; another segment may need the same."""


def best(
    segments: Sequence[Segment], moved_bytes: Sequence[int], stages: int, max_weights: int | None = None
) -> tuple[int, ...]:
    """The places to cut at, for so many stages; `moved_bytes` cross each place, which lies behind the segment of its
    number. A stage's weights, each counted once, take at most `max_weights` bytes.

    Raises:
        CutError: there are too few places, or the weights do not fit.
    """
    if not 2 <= stages <= len(segments):
        raise CutError(
            f"stages must lie between 2 and {len(segments)}, since the graph can be cut at {len(moved_bytes)} places, "
            f"got {stages}"
            if moved_bytes
            else "the graph must have a place to cut it at: nowhere do tensors cross that all begin with the batch"
        )
    reach = [_reach(segments, start, max_weights) for start in range(len(segments))]
    starts_s = [0.0]
    for segment in segments:
        starts_s.append(starts_s[-1] + segment.seconds)

    def seconds(start: int, end: int) -> float:
        return starts_s[end] - starts_s[start] if end <= reach[start] else inf

    slowest_s = _slowest(len(segments), stages, seconds)
    if slowest_s == inf:
        raise CutError(
            f"--max-weights must let {stages} stages hold the weights, got {max_weights} bytes: more of one or of both"
        )
    return _fewest_bytes(moved_bytes, stages, seconds, slowest_s * (1 + SLACK))


def _reach(segments: Sequence[Segment], start: int, max_weights: int | None) -> int:
    """The last end of a stage from `start` whose weights fit."""
    if max_weights is None:
        return len(segments)
    held: dict[str, int] = {}
    for end in range(start, len(segments)):
        held |= segments[end].weights
        if sum(held.values()) > max_weights:
            return end
    return len(segments)


def _slowest(size: int, stages: int, seconds: Seconds) -> float:
    """Seconds of the slowest stage of the best balanced cut."""
    fastest = [seconds(0, end) for end in range(size + 1)]
    for _ in range(stages - 1):
        fastest = [
            min((max(fastest[start], seconds(start, end)) for start in range(1, end)), default=inf)
            for end in range(size + 1)
        ]
    return fastest[size]


def _fewest_bytes(moved_bytes: Sequence[int], stages: int, seconds: Seconds, limit_s: float) -> tuple[int, ...]:
    """Of the cuts with no stage beyond the limit, the one that moves least; of several, the best balanced."""
    size = len(moved_bytes) + 1
    nothing: _Choice = (inf, inf, ())
    least: list[_Choice] = [
        (0, seconds(0, end), ()) if seconds(0, end) <= limit_s else nothing for end in range(size + 1)
    ]
    for _ in range(stages - 1):
        least = [
            min(
                (
                    (moved + moved_bytes[start - 1], max(slowest_s, seconds(start, end)), (*places, start - 1))
                    for start in range(1, end)
                    for moved, slowest_s, places in (least[start],)
                    if seconds(start, end) <= limit_s
                ),
                default=nothing,
            )
            for end in range(size + 1)
        ]
    return least[size][2]
