"""What this time of day usually brings, and traffic that rests or bursts by habit; days in a second."""

import math

import numpy as np
import pytest

from telemetry.series.frame import Frame, InstanceFrame
from telemetry.watching.decision import Machine, State
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.habit import BLOCK_S, Habit
from telemetry.watching.throughput import ThroughputWatch

HOUR_S, DAY_S = 3600.0, 86400.0
START_S = 20_000 * DAY_S
INTERVAL_S = 30.0


def alerts(rate, days, watch=None):
    """The hours at which a watch of such traffic fires."""
    watch, random, found = watch or ThroughputWatch(DetectionConfig()), np.random.default_rng(1), []
    machine = Machine(watch.decision)
    for number in range(1, int(days * DAY_S / INTERVAL_S)):
        seconds = number * INTERVAL_S
        num_requests = int(random.poisson(rate(seconds) * INTERVAL_S))
        now_s = START_S + seconds
        frame = Frame(time_s=now_s, steady_s=now_s, interval_s=INTERVAL_S, num_requests=num_requests)
        frame.instances = {"replica": InstanceFrame()}
        verdict, before = watch.see(frame), machine.state
        if verdict is not None:
            machine.step(verdict.unusual, verdict.calm, now_s)
        if machine.state is State.FIRING and before is not State.FIRING:
            found.append(seconds / HOUR_S)
        watch.settle(machine.state, now_s)
    return found


def in_office_hours(seconds):
    return 8 <= seconds / HOUR_S % 24 < 18


def test_traffic_that_ends_every_evening_is_known_after_three():
    found = alerts(lambda seconds: 30.0 * in_office_hours(seconds), 6)
    assert [round(hour) for hour in found] == [18, 42, 66]


def test_an_outage_at_noon_is_told_though_every_evening_ends_so():
    def rate(seconds):
        return 30.0 * in_office_hours(seconds) * (not 4.5 * DAY_S < seconds < 4.55 * DAY_S)

    assert [round(hour) for hour in alerts(rate, 5)] == [18, 42, 66, 108]


def test_stops_that_come_and_go_are_a_habit_after_three_and_one_that_lasts_is_none():
    def rate(seconds):
        return 20.0 * (seconds / HOUR_S % 6.1 < 5 and seconds < 2.5 * DAY_S)

    found = alerts(rate, 3)
    assert [round(hour, 1) for hour in found[:3]] == [5.0, 11.1, 17.2]
    assert len(found) == 4
    assert 60 < found[3] < 60 + 2 * 1.3 + 0.1, "at most twice as long as any before"


def test_the_end_of_a_nightly_job_is_no_outage():
    assert alerts(lambda seconds: 10.0 + 150.0 * (1 <= seconds / HOUR_S % 24 < 6), 2) == []


def test_an_outage_in_a_job_that_began_today_is_told():
    def rate(seconds):
        return (10.0 + 150.0 * (1 <= seconds / HOUR_S < 6)) * (seconds / HOUR_S < 4)

    assert [round(hour) for hour in alerts(rate, 0.2)] == [4]


def test_habits_survive_a_restart():
    watch = ThroughputWatch(DetectionConfig())
    alerts(lambda seconds: 30.0 * in_office_hours(seconds), 4, watch)
    after = ThroughputWatch(DetectionConfig())
    after.restore(watch.document())
    assert after.document() == watch.document()


def test_a_document_of_before_habits_is_taken_up():
    watch = ThroughputWatch(DetectionConfig())
    alerts(lambda _: 30.0, 0.1, watch)
    before = {name: kept for name, kept in watch.document().items() if name not in ("habit", "stops", "block_s")}
    ThroughputWatch(DetectionConfig()).restore(before)


def day(habit, number, value, state=State.OK):
    for block in range(int(DAY_S / BLOCK_S)):
        habit.see(value(block * BLOCK_S), START_S + number * DAY_S + block * BLOCK_S)
        habit.settle(state)


def rhythm(seconds):
    return 100 + 80 * math.sin(2 * math.pi * seconds / DAY_S)


def test_a_time_of_day_is_known_after_three_days_and_one_bad_day_changes_nothing():
    habit, noon_s = Habit(), START_S + DAY_S / 4
    for number in range(3):
        assert habit.lowest(noon_s) is None
        day(habit, number, rhythm)
    day(habit, 3, lambda _: 1000.0)
    day(habit, 4, rhythm)
    assert habit.highest(noon_s) == pytest.approx(180, rel=0.05)
    assert habit.lowest(noon_s + DAY_S / 2) == pytest.approx(20, rel=0.3)


def test_what_fires_for_longer_than_a_day_teaches_nothing_and_what_fires_for_less_is_known_once_it_is_over():
    habit, noon_s = Habit(), START_S + DAY_S / 4
    for number in range(3):
        day(habit, number, rhythm)
    for number in range(3, 10):
        day(habit, number, lambda _: 1000.0, State.FIRING)
    day(habit, 10, rhythm)
    assert habit.highest(noon_s) == pytest.approx(180, rel=0.05)
