"""ADWIN, beside river's own where that is installed."""

import json
import math

import numpy as np
import pytest

from telemetry.drift.adwin import PER_SIZE, Adwin


def test_a_window_grows_while_numbers_are_alike_and_drops_what_was_before_a_change():
    random, window = np.random.default_rng(0), Adwin()
    assert all(window.take(float(each)) is None for each in random.random(5000) < 0.9)
    assert window.num == 5000
    cuts = [cut for each in random.random(600) < 0.6 if (cut := window.take(float(each)))]
    assert cuts
    assert cuts[0].mean_before == pytest.approx(0.9, abs=0.03)
    assert window.num <= 700
    assert window.mean == pytest.approx(0.6, abs=0.07)


def test_memory_grows_with_the_logarithm_of_the_numbers():
    window = Adwin()
    for number in range(20_000):
        window.take(number % 2)
    assert len(window.state()["buckets"]) <= (PER_SIZE + 1) * math.log2(20_000)
    assert window.mean == pytest.approx(0.5)


def test_it_goes_on_after_a_restart():
    random, window, after = np.random.default_rng(1), Adwin(), Adwin()
    for each in random.random(500):
        window.take(each)
    after.restore(json.loads(json.dumps(window.state())))
    for each in random.random(200) / 3:
        assert (window.take(each) is None) == (after.take(each) is None)
    assert after.num == window.num
    assert after.mean == pytest.approx(window.mean)


def test_it_cuts_where_rivers_does():
    river = pytest.importorskip("river.drift")
    random = np.random.default_rng(2)
    ours, theirs = Adwin(), river.ADWIN(delta=0.002)
    first: dict[str, int] = {}
    for at, each in enumerate(np.concatenate([random.random(2000) < 0.8, random.random(2000) < 0.5])):
        if ours.take(float(each)):
            first.setdefault("ours", at)
        theirs.update(float(each))
        if theirs.drift_detected:
            first.setdefault("theirs", at)
    assert 2000 < first["ours"] < 2150
    assert first["ours"] == pytest.approx(first["theirs"], abs=64)


def test_numbers_elsewhere_are_refused():
    with pytest.raises(ValueError, match=r"value must lie in \[0, 1\], got 1.5"):
        Adwin().take(1.5)
