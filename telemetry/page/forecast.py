"""When what a service has will be used up, if it goes on as in the last hour.

It is shown and raises no alert: traffic with a rhythm rises every morning, and flattens by itself before it is full.
"""

import numpy as np

from telemetry.detectors.trend import Trend
from telemetry.series.track import Track

WINDOW_S, NUM_POINTS = 3600.0, 40
LEAST_RISE = 0.05
"""By which it must have risen in the hour: less says nothing."""


def full_in_s(saturation: Track | None, now_s: float) -> float | None:
    """Seconds until the trend of the last hour reaches 1; None where it does not lead there."""
    if saturation is None or not saturation.times:
        return None
    times, values = np.array(saturation.times), np.array(saturation.values)
    kept = (times > now_s - WINDOW_S) & np.isfinite(values)
    trend = Trend(window_s=WINDOW_S, num_points=NUM_POINTS, least_shift=LEAST_RISE)
    place = ((times - now_s + WINDOW_S) * NUM_POINTS / WINDOW_S).astype(np.int64)
    last = 0.0
    for stretch in range(NUM_POINTS):
        inside = kept & (place == stretch)
        if inside.any():
            last = float(values[inside].mean())
            trend.learn_one(last, now_s + (stretch / NUM_POINTS - 1) * WINDOW_S)
    return trend.seconds_until(1.0) if trend.score_one(last, now_s) >= 1.0 else None
