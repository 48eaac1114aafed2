"""Faults of a simulated fleet: found, not ended early, and nothing where processes go in order. Minutes in a second."""

import logging
import re

import pytest

from benchmarks.observing.fleet import MIB, START_S, Fleet, Load


def run(fleet, seconds, load=Load):
    """Let time pass; `load` may take the seconds since then and the place of a process."""
    began_s = fleet.elapsed_s
    while fleet.elapsed_s - began_s < seconds:
        fleet.step(lambda at_s, place: load() if load is Load else load(at_s - began_s, place))


def firing(fleet):
    return sorted(alert.signal for alert in fleet.collector.alerts.firing())


def test_requests_that_stay_away_are_missed_and_their_return_ends_it():
    fleet = Fleet(interval_s=2.0)
    run(fleet, 400)
    run(fleet, 30, lambda *_: Load(rate=5.0))
    assert firing(fleet) == ["throughput"]
    run(fleet, 600, lambda *_: Load(rate=5.0))
    assert firing(fleet) == ["throughput"]
    run(fleet, 100)
    assert firing(fleet) == []


def test_a_service_that_falls_silent_is_absent_until_it_reports_again():
    fleet = Fleet()
    run(fleet, 60)
    run(fleet, 20, lambda *_: Load(dead=True))
    assert firing(fleet) == ["absence"]
    (incident,) = fleet.collector.incidents
    assert "nothing of it reports any more" in incident.title
    run(fleet, 20)
    assert firing(fleet) == []


def test_one_of_several_that_dies_is_named_and_one_that_takes_its_place_ends_it():
    fleet = Fleet(num_replicas=3)
    run(fleet, 60)
    run(fleet, 20, lambda _, place: Load(dead=place == 1))
    (alert,) = fleet.collector.alerts
    assert (alert.signal, alert.instance) == ("absence", "replica-2")
    assert "2 of 3 processes report" in alert.sentence
    fleet.processes[1] = fleet.begin("1")
    run(fleet, 30)
    assert firing(fleet) == []


def test_a_new_version_and_replicas_that_end_in_order_raise_nothing():
    fleet = Fleet(num_replicas=2)
    run(fleet, 60)
    fleet.roll("2")
    run(fleet, 60)
    fleet.scale(5)
    run(fleet, 60)
    fleet.scale(1)
    run(fleet, 60)
    assert list(fleet.collector.alerts) == []
    assert [change.kind for change in fleet.collector.watchers.changes].count("version") == 1


def test_a_process_that_dies_amid_an_incident_does_not_end_it():
    fleet = Fleet()
    run(fleet, 60)
    run(fleet, 30, lambda *_: Load(error_ratio=0.5))
    run(fleet, 900, lambda *_: Load(dead=True))
    assert firing(fleet) == ["absence", "server_errors"]
    assert len(list(fleet.collector.incidents)) == 1


@pytest.mark.parametrize("per_s", [1.0, 8.0])
def test_memory_that_grows_without_end_is_found_in_five_minutes(per_s):
    fleet = Fleet(interval_s=5.0)
    run(fleet, 600)
    run(fleet, 300, lambda seconds, _: Load(memory=(300 + per_s * seconds) * MIB))
    assert firing(fleet) == ["memory"]


def test_an_alert_of_a_leak_says_how_long_what_is_left_lasts():
    fleet = Fleet(interval_s=5.0)
    run(fleet, 600)
    run(fleet, 300, lambda seconds, _: Load(memory=(300 + seconds) * MIB, available=(6000 - seconds) * MIB))
    (alert,) = fleet.collector.alerts
    assert re.search(
        r"grows by (5\d|6\d) MiB a minute: what is left, 5\d{3} MiB, lasts \d+ (minutes|hours)", alert.sentence
    )


def test_one_failing_replica_of_eight_is_one_incident():
    fleet = Fleet(num_replicas=8)
    run(fleet, 60, lambda *_: Load(rate=400.0))
    run(fleet, 60, lambda _, place: Load(rate=400.0, error_ratio=0.5 if place == 3 else 0.0))
    (incident,) = fleet.collector.incidents
    assert "failing_replica" in {alert.signal for alert in incident.alerts}
    assert {alert.instance for alert in incident.alerts} >= {"replica-4"}


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 40.0, -40.0])
def test_a_collectors_clock_that_is_set_raises_and_ends_nothing(step_s):
    fleet = Fleet(num_replicas=2)
    run(fleet, 90)
    fleet.clock.now_s += step_s
    run(fleet, 60)
    assert list(fleet.collector.alerts) == []
    run(fleet, 30, lambda *_: Load(error_ratio=0.5))
    fleet.clock.now_s += step_s
    run(fleet, 30, lambda *_: Load(error_ratio=0.5))
    assert "server_errors" in firing(fleet)


@pytest.mark.parametrize("back_s", [20.0, 100.0, 290.0])
def test_senders_whose_clock_is_set_back_are_neither_dead_nor_blind(back_s):
    fleet = Fleet(num_replicas=2)
    run(fleet, 60)
    fleet.ahead_s = -back_s
    run(fleet, 60)
    assert list(fleet.collector.alerts) == []
    run(fleet, 15, lambda *_: Load(error_ratio=0.5))
    assert firing(fleet) == ["server_errors"]
    assert fleet.collector.services["digits"].history["throughput"].values[-1] == pytest.approx(50, rel=0.5)
    run(fleet, 60)
    fleet.ahead_s = 0.0
    run(fleet, 60)
    assert [alert.signal for alert in fleet.collector.alerts] == ["server_errors"]


def test_what_is_usual_and_what_fires_survive_a_restart(tmp_path):
    fleet = Fleet(interval_s=5.0, folder=tmp_path)
    run(fleet, 600)
    run(fleet, 60, lambda *_: Load(median_s=0.3))
    assert firing(fleet) == ["latency"]
    fleet.restart_collector()
    assert firing(fleet) == ["latency"]
    run(fleet, 900, lambda *_: Load(median_s=0.3))
    assert firing(fleet) == ["latency"]
    run(fleet, 300)
    assert firing(fleet) == []
    assert len(list(fleet.collector.incidents)) == 1
    fleet.collector.data.close()


def test_a_service_that_dies_while_the_collector_restarts_is_missed(tmp_path):
    fleet = Fleet(folder=tmp_path)
    run(fleet, 60)
    fleet.restart_collector()
    run(fleet, 30, lambda *_: Load(dead=True))
    assert firing(fleet) == ["absence"]
    fleet.collector.data.close()


def test_a_document_that_cannot_be_read_is_put_aside_and_said(tmp_path, caplog):
    fleet = Fleet(folder=tmp_path)
    run(fleet, 30)
    fleet.collector.watchers.save()
    fleet.collector.documents.keep("watching/digits", {"format": 1, "watcher": {"latency": {}}, "drift": {}})
    with caplog.at_level(logging.ERROR):
        fleet.restart_collector()
    assert "watching/digits, kept before the restart, cannot be read and is put aside" in caplog.text
    run(fleet, 30)
    assert list(fleet.collector.alerts) == []
    fleet.collector.data.close()


def test_what_a_person_calls_normal_is_normal_from_then_on():
    fleet = Fleet(interval_s=2.0)
    run(fleet, 120)
    run(fleet, 60, lambda *_: Load(median_s=0.2))
    (incident,) = fleet.collector.incidents
    fleet.collector.incidents.accept(incident.id, by="ann", why="a larger model")
    assert incident.ended_by == "accepted"
    run(fleet, 300, lambda *_: Load(median_s=0.2))
    assert firing(fleet) == []
    run(fleet, 60, lambda *_: Load(median_s=2.0))
    assert firing(fleet) == ["latency"]


@pytest.mark.parametrize("rate", [5.0, 50.0])
def test_latency_that_rises_is_found_in_15_s_though_reports_come_every_five(rate):
    fleet = Fleet(interval_s=5.0)
    run(fleet, 900, lambda *_: Load(rate=rate))
    run(fleet, 15, lambda *_: Load(rate=rate, median_s=0.08))
    assert firing(fleet) == ["latency"]


def test_an_hours_ramp_is_no_new_normal():
    fleet = Fleet(interval_s=10.0)
    run(fleet, 900)
    began_s = fleet.elapsed_s
    run(fleet, 3600, lambda seconds, _: Load(error_ratio=0.2 * seconds / 3600, median_s=0.01 * (1 + seconds / 360)))
    fired = {alert.signal: alert.fired_s - START_S - began_s for alert in fleet.collector.alerts}
    assert fired["server_errors"] < 1800, "10 % by then"
    assert fired["latency"] < 1440, "five times by then"
    assert firing(fleet) == ["latency", "server_errors"]
