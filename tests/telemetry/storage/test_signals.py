import math

import numpy as np

from telemetry.storage.signals import RecordedSignals
from telemetry.storage.storage import Storage
from tests.telemetry.traffic import START_S


def test_signals_and_their_expected_ranges_are_read_by_service_and_range():
    signals = RecordedSignals(Storage(None))
    for index in range(5):
        signals.record("digits", START_S + index, {"latency_p95": index / 10, "cpu": 0.5})
        signals.expect("digits", START_S + index, {"latency_p95": (0.0, 0.3)})
    signals.record("rows", START_S, {"cpu": 1.0})
    read = signals.read("digits", START_S + 1, START_S + 3)
    assert read.keys() == {"latency_p95", "latency_p95.low", "latency_p95.high", "cpu"}
    assert read["latency_p95"].values.tolist() == [0.1, 0.2, 0.3]
    assert read["latency_p95.high"].values.tolist() == [0.3, 0.3, 0.3]
    assert signals.services(START_S, START_S + 10) == ["digits", "rows"]


def test_a_signal_that_says_nothing_takes_no_room_and_its_end_is_written_once():
    signals = RecordedSignals(Storage(None))
    for index, value in enumerate([math.nan, 1.0, math.nan, math.nan, 2.0]):
        signals.record("digits", START_S + index, {"latency_p95": value, "gpu": math.nan})
    signals.end("digits", START_S + 9)
    signals.end("digits", START_S + 10)
    read = signals.read("digits", START_S, START_S + 100)
    assert read.keys() == {"latency_p95"}
    np.testing.assert_array_equal(read["latency_p95"].values, [1.0, np.nan, 2.0, np.nan])
    assert read["latency_p95"].times.tolist() == [START_S + each for each in (1, 2, 4, 9)]


def test_signals_go_on_over_a_restart(tmp_path):
    for first in (0, 10):
        storage = Storage(tmp_path)
        RecordedSignals(storage).record("digits", START_S + first, {"cpu": float(first)})
        storage.checkpoint(START_S + first)
        storage.close()
    storage = Storage(tmp_path)
    assert RecordedSignals(storage).read("digits", START_S, START_S + 20)["cpu"].values.tolist() == [0.0, 10.0]
    storage.close()
