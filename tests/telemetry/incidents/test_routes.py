"""Incidents over HTTP, from a real collector's application."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from telemetry.collector import Collector
from tests.telemetry.traffic import Clock, Sender


@pytest.fixture(scope="module")
def broken() -> tuple[TestClient, Clock]:
    """A collector whose one service answers with 500 from the first request on."""
    clock, sender = Clock(), Sender()
    collector = Collector(clock=clock)
    for _ in range(30):
        clock.now_s += 1
        collector.receive_metrics(sender.request({500: np.full(20, 0.002)}, clock.now_s))
        collector.tick()
    return TestClient(collector.asgi, raise_server_exceptions=False), clock


def test_an_incident_is_listed_with_its_evidence(broken):
    client, clock = broken
    listed = client.get("/telemetry/api/incidents").json()
    assert listed["now"] == clock.now_s
    (incident,) = listed["incidents"]
    assert incident["state"] == "open"
    assert incident["services"] == ["digits"]
    assert [each["signal"] for each in incident["evidence"]] == ["server_errors"]
    assert client.get(f"/telemetry/api/incidents/{incident['id']}").json() == incident
    assert client.get("/telemetry/api/incidents/99").status_code == 404


def test_it_is_acknowledged_silenced_and_accepted(broken):
    client, clock = broken
    acknowledged = client.post("/telemetry/api/incidents/1/acknowledge", json={"by": "ann", "note": "looking"}).json()
    assert acknowledged["acknowledged"] == {"by": "ann", "note": "looking", "at_s": clock.now_s}
    silence = {"service": "digits", "for_s": 60, "by": "ann", "why": "known"}
    made = client.post("/telemetry/api/silences", json=silence)
    assert (made.status_code, made.json()["until_s"]) == (201, clock.now_s + 60)
    assert client.get("/telemetry/api/incidents/1").json()["silenced"]
    lifted = client.post(f"/telemetry/api/silences/{made.json()['id']}/lift", json={"by": "ann"}).json()
    assert lifted["silences"] == []
    accepted = client.post("/telemetry/api/incidents/1/accept", json={"by": "ann", "why": "a test server"}).json()
    assert (accepted["state"], accepted["ended_by"]) == ("ended", "accepted")
    (change,) = client.get("/telemetry/api/changes").json()["changes"]
    assert change["text"] == "server_errors as it is now is normal, says ann: a test server"


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"by=ann", "application/x-www-form-urlencoded", 415),
        (b'{"by": "ann"}', "text/plain", 415),
        (b"{", "application/json", 422),
        (b'{"by": ""}', "application/json", 422),
        (b'{"by": "ann", "until": 1}', "application/json", 422),
        (b'"' + b"a" * 20000 + b'"', "application/json", 413),
    ],
)
def test_what_breaks_a_rule_is_refused(broken, content, media_type, status):
    client, _ = broken
    answer = client.post(
        "/telemetry/api/incidents/1/acknowledge", content=content, headers={"content-type": media_type}
    )
    assert answer.status_code == status
    assert "must" in answer.json()["error"] or "got" in answer.json()["error"]
    assert client.get("/telemetry/api/incidents/1/accept").status_code == 405
    assert client.get("/telemetry/api/changes?since=nan").status_code == 400
