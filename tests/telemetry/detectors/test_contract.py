"""What holds of every detector."""

import json
import math

import numpy as np
import pytest

from telemetry.detectors.detector import FALSE_ALARM_RATE, DetectorError
from telemetry.detectors.proportion import Proportion, ProportionShift
from telemetry.detectors.robust_z import RobustZScore
from telemetry.detectors.surprise import Surprise
from telemetry.detectors.trend import Trend
from tests.telemetry.detectors.families import FAMILIES, scores, steady


def proportions(values):
    """The values as hits among 200 trials."""
    return [Proportion(min(200, round(abs(x))), 200) for x in values]


class Kind:
    """A detector, the seconds between its values and how it takes numbers."""

    def __init__(self, make, *, pace_s=1.0, reads=list, far=1e4):
        self.make, self.pace_s, self.reads, self.far = make, pace_s, reads, far

    def steady(self, family, num, seed=0):
        return self.reads(steady(family, num, seed))

    def scores(self, detector, values, start_s=0.0):
        return scores(detector, values, pace_s=self.pace_s, start_s=start_s)


KINDS = {
    "robust z": Kind(RobustZScore),
    "robust z, both sides": Kind(lambda: RobustZScore(side="both", least_ratio=0.1)),
    "trend": Kind(lambda: Trend(window_s=400.0)),
    "surprise": Kind(Surprise, pace_s=900.0),
    "proportion": Kind(lambda: ProportionShift(warmup=10), reads=proportions, far=Proportion(200, 200)),
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def kind(request):
    return request.param


@pytest.mark.parametrize("family", FAMILIES)
def test_steady_noise_stays_below_the_stated_rate_of_false_alarms(kind, family):
    num = 4000
    unusual = sum(score >= 1 for score in kind.scores(kind.make(), kind.steady(family, num)))
    assert unusual <= num * FALSE_ALARM_RATE + 3 * math.sqrt(num * FALSE_ALARM_RATE)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_finite_and_not_negative(kind, family):
    stream = kind.steady(family, 400)
    for values in (stream, [*stream, kind.reads([1e9])[0], *stream, kind.reads([0.0])[0]]):
        found = np.array(kind.scores(kind.make(), values))
        assert np.isfinite(found).all()
        assert (found >= 0).all()


def test_scores_do_not_depend_on_what_comes_later(kind):
    past, future = kind.steady("skewed", 400), kind.steady("normal", 50)
    assert kind.scores(kind.make(), past) == kind.scores(kind.make(), [*past, *future])[: len(past)]


def test_scoring_learns_nothing(kind):
    once, often = kind.make(), kind.make()
    for place, x in enumerate(kind.steady("skewed", 400)):
        time_s = place * kind.pace_s
        for later_s in (0.0, 1e4, -1e4):
            often.score_one(kind.far, time_s + later_s)
        assert once.score_one(x, time_s) == often.score_one(x, time_s)
        once.learn_one(x, time_s)
        often.learn_one(x, time_s)
    assert once.state() == often.state()


def test_a_restored_detector_goes_on_as_the_one_it_was(kind):
    stream, rest = kind.steady("skewed", 500), kind.steady("skewed", 300, seed=1)
    before, after = kind.make(), kind.make()
    kind.scores(before, stream)
    after.restore(json.loads(json.dumps(before.state())))
    later_s = 500 * kind.pace_s
    assert after.expected(later_s) == before.expected(later_s)
    assert kind.scores(after, rest, later_s) == kind.scores(before, rest, later_s)
    assert after.state() == before.state()


@pytest.mark.parametrize("state", [{}, {"window": "x", "past": [1, None], "gaps": [math.nan], "counts": [1]}])
def test_what_is_no_state_is_refused(kind, state):
    with pytest.raises(DetectorError, match="state"):
        kind.make().restore(state)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(kind, bad):
    detector = kind.make()
    kind.scores(detector, kind.steady("normal", 100))
    before = detector.state()
    usual = kind.steady("normal", 1)[0]
    for verb in (detector.score_one, detector.learn_one):
        with pytest.raises(DetectorError, match="must be finite, got"):
            verb(usual, bad)
        with pytest.raises(DetectorError, match="must"):
            verb(Proportion(1, bad) if kind.reads is proportions else bad, 100.0)
    assert detector.state() == before


def test_what_is_usual_lies_in_the_expected_range(kind):
    detector = kind.make()
    kind.scores(detector, kind.steady("normal", 500))
    low, high = detector.expected(500 * kind.pace_s)
    assert low <= (0.5 if kind.reads is proportions else 102.0)
    assert high >= (0.4 if kind.reads is proportions else 98.0)


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**10])
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.reads is list])
def test_scores_do_not_depend_on_the_unit(name, scale):
    kind = KINDS[name]
    stream = [*kind.steady("heavy-tailed", 700), *(100.0 + place for place in range(30)), 3.0]
    plain = kind.scores(kind.make(), stream)
    assert plain == pytest.approx(kind.scores(kind.make(), [x * scale for x in stream]), rel=1e-9)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0 * 24 * 30, -3600.0 * 24 * 365])
def test_a_clock_step_raises_nothing_that_lasts(kind, step_s):
    detector, stream = kind.make(), kind.steady("normal", 1200)
    kind.scores(detector, stream[:600])
    later = kind.scores(detector, stream[600:], 600 * kind.pace_s + step_s)
    assert sum(score >= 1 for score in later) <= 1


def test_memory_is_bounded(kind):
    # Two days and two weeks of each half-hour, then as much again: the state must have stopped growing.
    detector, stream = kind.make(), kind.steady("skewed", 1000)
    pace_s = 1800.0 if kind.pace_s > 1 else 1.0
    sizes = []
    for round_ in range(7):
        scores(detector, stream, pace_s=pace_s, start_s=round_ * 1000 * pace_s)
        sizes.append(num_numbers(detector.state()))
    assert sizes[-1] <= 3 * 8 * 2 * 48 * 8
    assert sizes[-1] <= sizes[-2] * 1.01


def num_numbers(state):
    if isinstance(state, dict | list):
        return sum(map(num_numbers, state.values() if isinstance(state, dict) else state))
    return 1


@pytest.mark.parametrize("name", [name for name in KINDS if name != "absence"])
def test_an_incident_is_seen_for_hours_though_nothing_is_learnt_and_ends_when_values_return(name):
    kind = KINDS[name]
    detector, stream = kind.make(), kind.steady("normal", 1500)
    kind.scores(detector, stream)
    if name == "trend":  # it must have begun
        for place in range(300):
            detector.learn_one(stream[place] + place, (1500 + place) * kind.pace_s)
    begin_s = 2000 * kind.pace_s
    if name.startswith("ramp"):  # it must have been under way for a while
        for place in range(2):
            detector.learn_one(kind.far, begin_s + place)
    later = [detector.score_one(kind.far, begin_s + hour * 3600.0) for hour in range(1, 7)]
    assert min(later) >= 1.0
    usual = 0.0 if name == "trend" else 100.0
    again = kind.reads([usual])[0]
    assert detector.score_one(again, begin_s + 7 * 3600.0) < 1.0
