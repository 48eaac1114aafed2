"""Processor time that each detector takes for a value, scored and learnt."""

import argparse
import time
from collections.abc import Callable

import numpy as np

from benchmarks.throughput import Figures
from telemetry.detectors.detector import Detector
from telemetry.detectors.robust_z import RobustZScore
from telemetry.detectors.surprise import Surprise
from telemetry.detectors.trend import Trend

DETECTORS: tuple[tuple[Callable[[], Detector[float]], float], ...] = (
    (RobustZScore, 1.0),
    (Trend, 10.0),
    (Surprise, 60.0),
)
"""Each with the seconds between its values."""


def figures(options: argparse.Namespace) -> Figures:
    """Microseconds a value, of the slowest detector and of all together."""
    num = 5000 if options.quick else 50_000
    values = np.random.default_rng(0).lognormal(0, 0.4, num).tolist()
    took_us = [1e6 * _seconds(make(), values, pace_s) / num for make, pace_s in DETECTORS]
    return {"detector_slowest_us": max(took_us), "detectors_us": sum(took_us)}


def _seconds(detector: Detector[float], values: list[float], pace_s: float) -> float:
    began_s = time.process_time()
    for place, x in enumerate(values):
        detector.score_one(x, place * pace_s)
        detector.learn_one(x, place * pace_s)
    return time.process_time() - began_s
