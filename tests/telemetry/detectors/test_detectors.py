"""One contract for all detectors, then what is each one's own."""

import json
import sys

import numpy as np
import pytest

from telemetry.detectors.detector import DetectorError
from telemetry.detectors.proportion import Proportion, ProportionShift, wilson_lower
from telemetry.detectors.robust_z import RobustZScore


def noise(seed, num=400):
    return list(np.random.default_rng(seed).lognormal(0, 0.4, num))


def shares(seed, num=400):
    rng = np.random.default_rng(seed)
    return [Proportion(int(rng.binomial(n, 0.05)), int(n)) for n in rng.integers(0, 200, num)]


# name: (detector, a stream, a constant stream, something far above it)
DETECTORS = {
    "robust z": (lambda: RobustZScore(least_shift=0.08), noise, [0.7] * 300, 50.0),
    "robust z of zeros": (RobustZScore, noise, [0.0] * 300, 50.0),
    "proportion": (ProportionShift, shares, [Proportion(30, 100)] * 300, Proportion(90, 100)),
    "proportion of nothing": (lambda: ProportionShift(warmup=3), shares, [Proportion(0, 0)] * 300, Proportion(90, 100)),
}


@pytest.fixture(params=DETECTORS.values(), ids=list(DETECTORS))
def case(request):
    return request.param


def scores(detector, stream):
    found = []
    for time_s, x in enumerate(stream):
        found.append(detector.score_one(x, time_s))
        detector.learn_one(x, time_s)
    return found


def test_a_restored_detector_scores_as_the_one_it_was(case):
    make, stream, _, far = case
    before, after = make(), make()
    scores(before, stream(0))
    after.restore(json.loads(json.dumps(before.state())))
    assert after.expected(400) == before.expected(400)
    rest = [*stream(1), far]
    assert scores(after, rest) == scores(before, rest)


def test_a_state_that_is_none_is_refused(case):
    make, *_ = case
    with pytest.raises(DetectorError, match="state"):
        make().restore({})


def test_scores_are_finite_and_not_negative(case):
    make, stream, constant, far = case
    for values in (stream(0), constant, [far, *stream(1), far]):
        found = np.array(scores(make(), values))
        assert np.isfinite(found).all()
        assert (found >= 0).all()


def test_scores_do_not_depend_on_what_comes_later(case):
    make, stream, _, far = case
    past = stream(2)
    assert scores(make(), past) == scores(make(), [*past, far, *stream(3)])[: len(past)]


def test_scoring_learns_nothing(case):
    make, stream, _, far = case
    once, often = make(), make()
    for x in stream(4):
        for _ in range(3):
            often.score_one(far, 0.0)
        assert once.score_one(x, 0.0) == often.score_one(x, 0.0)
        once.learn_one(x, 0.0)
        often.learn_one(x, 0.0)


def test_a_constant_series_scores_zero(case):
    make, _, constant, _ = case
    assert set(scores(make(), constant)) == {0.0}


def test_something_far_above_scores_high(case):
    make, _, constant, far = case
    detector = make()
    scores(detector, constant)
    assert detector.score_one(far, 300.0) > 1


def test_the_state_is_bounded(case):
    make, stream, _, _ = case
    detector = make()
    scores(detector, stream(5, 500))
    size = state_bytes(detector)
    scores(detector, stream(6, 3000))
    assert state_bytes(detector) <= size * 1.1


def state_bytes(detector):
    held = [
        v for value in vars(detector).values() for v in ([value, *value] if hasattr(value, "__iter__") else [value])
    ]
    return sum(map(sys.getsizeof, held))


def test_what_is_usual_lies_in_the_expected_range(case):
    make, stream, _, _ = case
    detector = make()
    scores(detector, stream(7))
    low, high = detector.expected(400.0)
    assert 0 <= low <= high


@pytest.mark.parametrize("scale", [1e-6, 1e3])
def test_robust_z_is_scale_free(scale):
    stream = np.array(noise(8))
    plain = scores(RobustZScore(least_shift=0.4), stream)
    scaled = scores(RobustZScore(least_shift=0.4 * scale), stream * scale)
    assert plain == pytest.approx(scaled)


def test_robust_z_is_numpys():
    window = np.array(noise(9, 120))
    detector = RobustZScore(least_ratio=0.0)
    scores(detector, [*noise(11), *window])
    lower, median, upper = np.percentile(window, (25, 50, 75))
    assert detector.score_one(9.0, 0.0) == pytest.approx((9.0 - median) / (8 * (upper - lower) / 1.349))


def test_robust_z_is_not_moved_by_a_fifth_of_outliers():
    clean, dirty = RobustZScore(), RobustZScore()
    for index, x in enumerate(noise(10, 100)):
        clean.learn_one(x, 0.0)
        dirty.learn_one(1e6 if index % 5 == 0 else x, 0.0)
    assert dirty.score_one(20.0, 0.0) > clean.score_one(20.0, 0.0) / 3 > 0.25


def test_noise_below_the_absolute_floor_is_not_unusual():
    detector = RobustZScore(least_shift=0.008)
    scores(detector, [0.0002] * 50)
    assert detector.score_one(0.008, 50.0) < 1 < detector.score_one(0.009, 50.0)


def test_wilson_bound_is_the_published_one():
    # 81 of 263, z = 1.96: Newcombe 1998 (doi:10.1002/(SICI)1097-0258(19980430)17:8), method 3, 0.2553
    assert wilson_lower(Proportion(81, 263), 1.959964) == pytest.approx(0.2553, abs=5e-5)
    assert wilson_lower(Proportion(0, 20), 1.959964) == 0.0


def test_one_failure_of_two_says_nothing_and_300_of_1000_much():
    detector = ProportionShift(warmup=0)
    assert detector.score_one(Proportion(1, 2), 0.0) == 0
    assert detector.score_one(Proportion(300, 1000), 0.0) > 4
