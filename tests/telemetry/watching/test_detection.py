"""Incidents are found in time and steady traffic is left in peace: the simulation of `traffic.py` with few seeds."""

import pytest

from tests.telemetry.traffic import START_S, Steady, failing, normal_days, replay, spiked

INCIDENTS = {
    "latency": lambda traffic, from_s: spiked(traffic, from_s=from_s),
    "server_errors": lambda traffic, from_s: failing(traffic, from_s=from_s),
    "client_errors": lambda traffic, from_s: failing(traffic, from_s=from_s, status=400),
}


@pytest.mark.parametrize("signal", INCIDENTS)
@pytest.mark.parametrize("rate", [20, 200, 2000])
@pytest.mark.parametrize("after_s", [30, 60])
@pytest.mark.parametrize("seed", [100, 101])
def test_an_incident_is_found_within_15_seconds(signal, rate, after_s, seed):
    second = INCIDENTS[signal](Steady(rate=rate), after_s)
    _, alerts = replay(second, seconds=after_s + 20, seed=seed, num_instances=1 + seed % 2)
    delays = [alert.fired_s - START_S - after_s for alert in alerts if alert.signal == signal]
    assert len(delays) == 1
    assert 0 < delays[0] <= 15


@pytest.mark.parametrize(("second", "seconds"), [d[1:] for d in normal_days()], ids=[d[0] for d in normal_days()])
def test_ten_steady_minutes_raise_no_alert(second, seconds):
    assert [alert.sentence for alert in replay(second, seconds=seconds, seed=200, num_instances=2)[1]] == []


def test_delta_senders_are_watched_as_well():
    _, alerts = replay(spiked(Steady(rate=100), from_s=60), seconds=80, seed=0, delta=True)
    assert [alert.signal for alert in alerts] == ["latency"]
