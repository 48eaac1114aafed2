"""When what a service has will be used up."""

import numpy as np
import pytest

from telemetry.page.forecast import full_in_s
from telemetry.series.track import Track

NOW_S = 1_800_000_000.0


def track(values_of):
    made, random = Track(3600.0, 4000), np.random.default_rng(3)
    for ago_s in range(3600, 0, -10):
        made.append(NOW_S - ago_s, values_of(ago_s) + random.normal(0, 0.01))
    return made


def test_a_trend_tells_when_it_is_full():
    rising = track(lambda ago_s: 0.7 - 0.1 * ago_s / 3600)
    assert full_in_s(rising, NOW_S) == pytest.approx(3 * 3600, rel=0.15)


@pytest.mark.parametrize("values_of", [lambda _: 0.5, lambda ago_s: 0.3 + 0.3 * ago_s / 3600], ids=["level", "falling"])
def test_what_does_not_rise_is_never_full(values_of):
    assert full_in_s(track(values_of), NOW_S) is None


def test_nothing_is_told_of_what_is_not_known():
    assert full_in_s(None, NOW_S) is None
    assert full_in_s(Track(3600.0, 10), NOW_S) is None
