"""Alerts, from simulated traffic: raised once, ended, and said in a sentence."""

import numpy as np
import pytest

from telemetry.watching.decision import State
from tests.telemetry.traffic import START_S, Steady, failing, replay, spiked


def test_what_comes_back_soon_is_the_same_alert():
    traffic = Steady(rate=100)

    def second(rng, at_s):
        wave = at_s in range(60, 75) or at_s in range(155, 170)
        return (spiked(traffic, from_s=0) if wave else traffic.second)(rng, at_s)

    _, alerts = replay(second, seconds=260, seed=0)
    assert len(alerts) == 1
    assert alerts[0].ended_by == "returned"
    assert alerts[0].resolved_s - START_S > 200


def test_silence_ends_no_alert():
    traffic = Steady(rate=100, until_s=80)
    _, (alert,) = replay(spiked(traffic, from_s=60), seconds=600, seed=0)
    assert alert.state is State.FIRING


@pytest.mark.parametrize("factor", [20, 100])
def test_a_lasting_shift_is_never_learnt(factor):
    _, (alert,) = replay(spiked(Steady(rate=20), from_s=120, factor=factor), seconds=3000, seed=0)
    assert alert.state is State.FIRING


def test_an_outage_of_all_requests_fires_until_they_succeed():
    traffic = Steady(rate=20)

    def second(rng, at_s):
        return (failing(traffic, from_s=120, share=1.0) if at_s < 1800 else traffic.second)(rng, at_s)

    _, alerts = replay(second, seconds=2000, seed=0)
    (alert,) = [each for each in alerts if each.signal == "server_errors"]
    assert 1800 < alert.resolved_s - START_S < 1980


def test_an_alert_says_what_where_and_what_was_expected():
    _, (alert,) = replay(spiked(Steady(rate=100), from_s=60), seconds=80, seed=0)
    assert alert.sentence.startswith("digits: p95 latency ")
    assert ", expected " in alert.sentence
    assert alert.expected_low < alert.expected_high < 0.02 < 0.2 < alert.value
    assert START_S + 60 <= alert.started_s <= alert.fired_s <= START_S + 67


def test_an_error_burst_alerts_once():
    _, alerts = replay(failing(Steady(rate=50), from_s=60), seconds=120, seed=0)
    assert [alert.signal for alert in alerts] == ["server_errors"]
    assert 0.2 < alerts[0].value < 0.4


def test_one_failure_of_two_requests_is_no_alert():
    def second(rng, at_s):
        return {200: np.full(1, 0.002), 500: np.full(1, 0.002)} if at_s in (30, 90) else {}

    assert replay(second, seconds=120, seed=0)[1] == []
