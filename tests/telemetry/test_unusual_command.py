"""`python -m telemetry unusual` over a collector's folder."""

import time

import numpy as np
import pytest

from telemetry.__main__ import main
from telemetry.receivers.points import Scope
from telemetry.series.stream import Key
from telemetry.storage.signals import RecordedSignals
from telemetry.storage.storage import Storage

NUM_MINUTES = 600


@pytest.fixture
def folder(tmp_path):
    """Ten hours of a model by the minute: latency rose five-fold an hour ago, a counter of another stood still."""
    storage, random = Storage(tmp_path), np.random.default_rng(0)
    signals = RecordedSignals(storage)
    counter = np.array([storage.series_id(Key("other", "pod 1", Scope("mine"), "pages", (("disk", "a"),)), "counter")])
    now_s, total = time.time() // 60 * 60, 0.0
    for minute in range(NUM_MINUTES):
        at_s = now_s - 60.0 * (NUM_MINUTES - minute)
        has_risen = NUM_MINUTES - 60 <= minute < NUM_MINUTES - 50
        latency = (5.0 if has_risen else 1.0) * random.normal(0.1, 0.005)
        signals.record("digits", at_s, {"latency_p95": latency, "latency_p95.high": 10.0 * has_risen})
        total += 0.0 if minute > NUM_MINUTES - 30 else random.normal(6000, 100)
        storage.append(counter, at_s, np.array([total]))
    storage.checkpoint(now_s)
    assert storage.flush()
    storage.close()
    return str(tmp_path)


def test_a_signal_that_left_its_past_is_told_with_what_was_usual(folder, capsys):
    assert main(["unusual", "--since", "2h", "--data-dir", folder]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert "digits latency_p95: 0.5" in first
    assert "usually 0.0" in first
    assert not any(".high" in line for line in others)


def test_a_counter_is_looked_at_by_its_rate(folder, capsys):
    assert main(["unusual", "--metric", "pages", "--since", "1h", "--data-dir", folder]) == 0
    assert "other pages (pod 1, disk=a): 0, usually 9" in capsys.readouterr().out.splitlines()[0]


def test_what_was_before_the_range_is_not_told(folder, capsys):
    assert main(["unusual", "--service", "digits", "--since", "20m", "--data-dir", folder]) == 0
    assert "latency_p95: 0.5" not in capsys.readouterr().out
