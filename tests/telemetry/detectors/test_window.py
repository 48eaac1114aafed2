"""The sorted window, against numpy and deque."""

from collections import deque

import numpy as np
import pytest

from telemetry.detectors.window import SortedWindow


def test_quantiles_are_numpys_of_the_last_numbers():
    window, recent = SortedWindow(50), deque(maxlen=50)
    for x in np.random.default_rng(0).integers(0, 30, 300).tolist():
        window.add(float(x))
        recent.append(x)
        assert list(window) == list(recent)
        for q in (0.0, 0.05, 0.25, 0.5, 0.95, 1.0):
            assert window.quantile(q) == pytest.approx(np.quantile(recent, q))


def test_above_and_below_leave_equal_numbers_out():
    window = SortedWindow(10)
    window.replace([3.0, 1.0, 2.0, 2.0, 5.0])
    assert window.above(2.0) == [3.0, 5.0]
    assert window.below(2.0) == [1.0]


def test_replacing_keeps_the_last_numbers():
    window = SortedWindow(2)
    window.replace([1.0, 2.0, 3.0])
    window.add(4.0)
    assert list(window) == [3.0, 4.0]


def test_an_empty_window_has_quantiles_of_zero():
    assert SortedWindow(3).quantile(0.5) == 0.0
