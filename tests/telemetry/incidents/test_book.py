"""Alerts become incidents: one for one fault, with its cause, and with what people say about it."""

import pytest

from telemetry.incidents.book import Event, IncidentBook, UnknownIncidentError
from telemetry.incidents.changes import Change, Changes
from telemetry.incidents.silence import Silence
from telemetry.watching.alerts import Alert, AlertBook
from telemetry.watching.decision import State

BEGAN_S = 1_000_000.0


class Told:
    """A book, and what its listener was told."""

    def __init__(self, **calls: set[str]) -> None:
        self.now_s = BEGAN_S
        self.alerts, self.changes = AlertBook(), Changes()
        self.events: list[tuple[int, str]] = []
        self.book = IncidentBook(self.alerts, self.changes, self, lambda: self.now_s, lambda: calls)
        self.book.listen(lambda incident, event: self.events.append((incident.id, event)))

    def fire(self, service: str, signal: str = "latency", *, after_s: float = 0.0, host: str = "") -> Alert:
        self.now_s = BEGAN_S + after_s
        alert = Alert(
            id=self.alerts.next_id(),
            service=service,
            signal=signal,
            hosts=[host] if host else [],
            state=State.FIRING,
            started_s=self.now_s,
            fired_s=self.now_s,
            value=1.0,
            expected_low=0.0,
            expected_high=0.1,
            score=9.0,
            sentence=f"{service}: {signal} 1 s, expected 100 ms",
        )
        self.alerts.add(alert)
        return alert

    def end(self, alert: Alert, ended_by: str = "returned", *, after_s: float = 0.0) -> None:
        self.now_s = BEGAN_S + after_s
        alert.state, alert.resolved_s, alert.ended_by = State.RESOLVED, self.now_s, ended_by
        self.alerts.changed(alert)

    def accept(self, alert: Alert) -> None:
        self.end(alert, "accepted", after_s=self.now_s - BEGAN_S)

    def relearn(self, service: str) -> bool:
        for alert in self.alerts.firing():
            self.accept(alert)
        return service == "digits"


def test_signals_of_one_service_and_their_mirror_in_the_ingress_are_one_incident():
    told = Told()
    told.fire("digits", "queue")
    told.fire("ingress", "latency", after_s=3)
    told.fire("digits", "server_errors", after_s=400)
    (incident,) = told.book
    assert incident.services == ["digits", "ingress"]
    assert incident.title == "digits: server_errors 1 s, expected 100 ms; seen in 2 other signals"
    assert told.events == [(1, Event.OPENED), (1, Event.GREW), (1, Event.GREW)]


def test_the_ingress_may_be_the_first_to_tell():
    told = Told()
    told.fire("ingress")
    told.fire("digits", after_s=10)
    assert len(list(told.book)) == 1


def test_services_that_share_a_host_and_a_moment_have_one_incident():
    told = Told()
    told.fire("digits", host="node-1")
    told.fire("words", host="node-1", after_s=20)
    told.fire("signals", host="node-2", after_s=20)
    assert [incident.services for incident in told.book] == [["digits", "words"], ["signals"]]


def test_two_faults_at_different_times_are_two_incidents_though_the_ingress_sees_both():
    told = Told()
    told.fire("digits", host="node-1")
    told.fire("ingress", host="node-1", after_s=5)
    told.fire("words", host="node-1", after_s=300)
    assert [incident.services for incident in told.book] == [["digits", "ingress"], ["words"]]


def test_an_incident_ends_with_the_last_of_its_alerts_and_a_relapse_is_the_same_incident():
    told = Told()
    first, second = told.fire("digits"), told.fire("digits", "queue")
    told.end(first, after_s=60)
    assert [incident.is_open for incident in told.book] == [True]
    told.end(second, after_s=90)
    (incident,) = told.book
    assert (incident.is_open, incident.ended_s, incident.ended_by) == (False, BEGAN_S + 90, "returned")
    told.fire("digits", after_s=120)
    assert [each.is_open for each in told.book] == [True]
    told.end(told.fire("digits", after_s=130), after_s=140)
    assert told.events[-3:] == [(1, Event.ENDED), (1, Event.REOPENED), (1, Event.GREW)]


def test_the_probable_cause_is_what_changed_shortly_before():
    told = Told()
    for before_s, service, kind, text in (
        (7200, "digits", "version", "version 2 instead of 1"),
        (400, "digits", "load", "three times the requests"),
        (30, "digits", "version", "version 3 instead of 2"),
        (30, "words", "version", "version 9 instead of 8"),
    ):
        told.changes.add(Change(time_s=BEGAN_S - before_s, service=service, kind=kind, text=text))
    told.fire("digits")
    (incident,) = told.book
    assert [cause.text for cause in incident.causes] == ["version 3 instead of 2", "three times the requests"]


def test_what_others_ask_and_failed_before_them_is_one_incident_with_them_and_its_probable_cause():
    told = Told(reviews={"table", "shards"}, table={"shards"})
    told.fire("shards", "absence", host="node-2")
    told.fire("reviews", "latency", after_s=200, host="node-1")
    told.fire("digits", "latency", after_s=210, host="node-3")
    first, other = told.book
    assert first.services == ["shards", "reviews"]
    assert [(each.service, each.text) for each in first.causes] == [("shards", "reviews asks it, and it failed first")]
    assert other.services == ["digits"]


def test_who_fails_first_has_no_cause_in_what_it_asks():
    told = Told(reviews={"shards"})
    told.fire("reviews", "latency")
    told.fire("shards", "latency", after_s=30)
    (incident,) = told.book
    assert incident.services == ["reviews", "shards"]
    assert incident.causes == []


def test_accepting_ends_an_incident_and_says_so_among_the_changes():
    told = Told()
    told.fire("digits")
    told.book.accept(1, by="ann", why="the new model is larger")
    (incident,) = told.book
    assert incident.ended_by == "accepted"
    assert [change.kind for change in told.changes] == ["accepted"]


def test_a_silence_covers_what_it_names_until_it_ends():
    told = Told()
    told.fire("digits", "latency")
    (incident,) = told.book
    assert not told.book.is_silenced(incident)
    silence = Silence(id=0, service="dig*", signal="latency", until_s=BEGAN_S + 60, by="ann", why="", made_s=BEGAN_S)
    told.book.silence(silence)
    assert told.book.is_silenced(incident)
    told.fire("digits", "server_errors")
    assert not told.book.is_silenced(incident)
    told.book.silence(Silence(id=0, until_s=BEGAN_S + 60, by="ann", why="", made_s=BEGAN_S))
    assert told.book.is_silenced(incident)
    told.now_s += 61
    assert not told.book.is_silenced(incident)


def test_incidents_silences_and_acknowledgements_survive_as_documents():
    told = Told()
    alert = told.fire("digits")
    told.book.acknowledge(1, by="ann", note="looking")
    told.book.silence(Silence(id=0, service="digits", until_s=BEGAN_S + 60, by="ann", why="", made_s=BEGAN_S))
    after = Told()
    after.alerts.restore(told.alerts.document())
    after.book.restore(told.book.document())
    (incident,) = after.book
    assert incident.acknowledged is not None
    assert (incident.acknowledged.by, incident.is_open, incident.alerts) == ("ann", True, [alert])
    assert after.book.is_silenced(incident)
    after.fire("words", after_s=500)
    assert [each.id for each in after.book] == [1, 2]


def test_a_listener_that_fails_leaves_the_others_told(caplog):
    told = Told()

    def failing(incident, event):
        raise ArithmeticError("its own")

    book = IncidentBook(told.alerts, told.changes, told, lambda: told.now_s)
    heard: list[Event] = []
    book.listen(failing)
    book.listen(lambda incident, event: heard.append(event))
    told.fire("digits")
    assert heard == [Event.OPENED]
    assert "a listener failed on opened" in caplog.text


def test_an_unknown_incident_is_refused():
    with pytest.raises(UnknownIncidentError, match="incident must be the id of one that is remembered, got 7"):
        Told().book.find(7)
