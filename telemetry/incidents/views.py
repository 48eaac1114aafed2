"""Incidents and silences as JSON-ready data; times in Unix seconds."""

from dataclasses import asdict
from typing import Any

from telemetry.incidents.book import IncidentBook
from telemetry.incidents.incident import Incident
from telemetry.incidents.runbooks import RUNBOOK, runbook_of
from telemetry.watching.alerts import Alert

Json = dict[str, Any]


def incident(book: IncidentBook, shown: Incident) -> Json:
    """`{id, state, title, services, hosts, instances, signals, started_s, fired_s, ended_s, ended_by, silenced,
    acknowledged: {by, note, at_s} | null, causes: [{time_s, service, kind, text}], evidence: [...]}`.

    `state` is "open" or "ended", `ended_by` "returned", "accepted", "left" or empty while it is open.
    """
    return {
        "id": shown.id,
        "state": "open" if shown.is_open else "ended",
        "title": shown.title,
        "services": shown.services,
        "hosts": sorted({host for alert in shown.alerts for host in alert.hosts}),
        "instances": sorted({alert.instance for alert in shown.alerts if alert.instance}),
        "signals": sorted({alert.signal for alert in shown.alerts}),
        "started_s": shown.started_s,
        "fired_s": shown.fired_s,
        "ended_s": shown.ended_s,
        "ended_by": shown.ended_by,
        "silenced": book.is_silenced(shown),
        "acknowledged": asdict(shown.acknowledged) if shown.acknowledged else None,
        "causes": [asdict(cause) for cause in shown.causes],
        "evidence": [evidence(alert) for alert in shown.alerts],
    }


def evidence(alert: Alert) -> Json:
    """`{alert, service, signal, instance, state, sentence, started_s, fired_s, resolved_s, expected: [low, high],
    worst, last, runbook}`: which signal went from what to what, since when.
    """
    return {
        "alert": alert.id,
        "service": alert.service,
        "signal": alert.signal,
        "instance": alert.instance,
        "state": alert.state,
        "sentence": alert.sentence,
        "started_s": alert.started_s,
        "fired_s": alert.fired_s,
        "resolved_s": alert.resolved_s,
        "expected": [alert.expected_low, alert.expected_high],
        "worst": alert.value,
        "last": alert.last,
        "runbook": runbook_of(alert.signal, RUNBOOK),
    }


def incidents(book: IncidentBook, now_s: float) -> Json:
    """`{now, incidents, silences}`: those that are open first, then the latest."""
    shown = sorted(book, key=lambda each: (not each.is_open, -each.started_s))
    return {
        "now": now_s,
        "incidents": [incident(book, each) for each in shown],
        "silences": [asdict(silence) for silence in book.silences if silence.until_s > now_s],
    }
