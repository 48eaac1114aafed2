"""Levels: a lasting rise is unusual, noise, a fall and another replica are not."""

import math

import numpy as np
import pytest

from telemetry.series.frame import Frame
from telemetry.watching.alerts import AlertBook
from telemetry.watching.levels import LEVELS, LevelWatch
from telemetry.watching.watcher import Watcher

USUAL = {"queue_p95": 0.002, "inference_p95": 0.004, "train_step_p95": 0.04, "event_loop_p95": 0.01}


def alerts(values, of):
    book = AlertBook()
    watcher = Watcher("digits", [LevelWatch(level) for level in LEVELS], book)
    for at, value in enumerate(values):
        watcher.see(Frame(time_s=float(at), steady_s=float(at), signals={of: value}))
    return list(book)


def noisy(level, num, seed=0):
    rng = np.random.default_rng(seed)
    values = USUAL[level.of] * np.exp(0.15 * rng.standard_normal(num))
    values[rng.random(num) < 0.03] *= 5
    return values


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.signal)
def test_noise_is_not_unusual(level):
    assert [alert for seed in range(20) for alert in alerts(noisy(level, 600, seed), level.of)] == []


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.signal)
def test_a_lasting_rise_is_told_within_six_frames(level):
    values = noisy(level, 80)
    values[60:] *= 20
    (alert,) = alerts(values, level.of)
    assert alert.signal == level.signal
    assert 60 < alert.fired_s <= 66
    assert alert.sentence.startswith(f"digits: {level.text} ")


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.signal)
def test_a_fall_is_not_unusual(level):
    values = noisy(level, 80)
    values[40:] /= 20
    assert alerts(values, level.of) == []


def test_a_signal_that_says_nothing_is_left_out():
    assert LevelWatch(LEVELS[0]).see(Frame(time_s=0.0, signals={"queue_p95": math.nan})) is None
    assert LevelWatch(LEVELS[0]).see(Frame(time_s=0.0)) is None
