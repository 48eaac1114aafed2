"""Which of several peers is worse than the others, at one time: a comparison, nothing is learnt.

So it also sees what was wrong from the start, when there is no past to compare with.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.detectors.detector import LARGEST_SCORE, DetectorError, require_finite

SPREADS = 8.0
"""Robust standard deviations of the others by which a straggler must differ."""
MAD_OF_NORMAL = 1.4826
"""Standard deviation of the normal distribution over its median absolute deviation."""


@dataclass(frozen=True, kw_only=True)
class Straggler:
    """The peer with the largest value, against the others."""

    name: str
    value: float
    usual: float
    """Median of the others."""
    limit: float
    """The value from which the score is 1."""
    score: float
    """(value - usual) / (limit - usual), at least 0."""


def straggler(peers: Mapping[str, float], *, least_ratio: float = 0.5, least_shift: float = 0.0) -> Straggler:
    """Compare the peer with the largest value to the others.

    It must exceed their median by 8 of their robust standard deviations (median absolute deviation, Rousseeuw & Croux
    1993, doi:10.1080/01621459.1993.10476408), by `least_ratio` of that median, and by `least_shift`. Among few peers
    the spread says little, and the other two decide. Of values that are to be watched for lack, give the negatives.

    Raises:
        DetectorError: there are fewer than two peers, or a value is not finite.
    """
    if len(peers) < 2:
        raise DetectorError(f"a straggler must be one of at least 2 peers, got {len(peers)}")
    for value in peers.values():
        require_finite(value, 0.0)
    name = max(peers, key=lambda peer: peers[peer])
    others = [value for peer, value in peers.items() if peer != name]
    usual = statistics.median(others)
    spread = MAD_OF_NORMAL * statistics.median(abs(value - usual) for value in others)
    allowed = max(SPREADS * spread, least_ratio * abs(usual), least_shift)
    excess = peers[name] - usual
    score = min(excess / allowed, LARGEST_SCORE) if allowed else LARGEST_SCORE * (excess > 0)
    return Straggler(name=name, value=peers[name], usual=usual, limit=usual + allowed, score=max(0.0, score))
