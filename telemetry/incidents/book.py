"""The incidents: grows and ends them as alerts do, and keeps what people said about them.

AlertBook -> IncidentBook (groups, looks for the cause) -> listeners (notify), page
"""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from enum import StrEnum
from typing import Any, Protocol

from telemetry.incidents.calls import Calls
from telemetry.incidents.causes import causes
from telemetry.incidents.changes import Change, Changes
from telemetry.incidents.grouping import belongs
from telemetry.incidents.incident import Acknowledgement, Incident
from telemetry.incidents.silence import Silence
from telemetry.watching.alerts import Alert, AlertBook
from telemetry.watching.decision import State

logger = logging.getLogger(__name__)

MAX_INCIDENTS = 200
"""Ended incidents that are remembered; the oldest are forgotten first. One that is open is never forgotten."""


class Event(StrEnum):
    """What happened to an incident."""

    OPENED = "opened"
    GREW = "grew"
    REOPENED = "reopened"
    ENDED = "ended"
    ACKNOWLEDGED = "acknowledged"


class UnknownIncidentError(LookupError):
    """There is no incident of this number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"incident must be the id of one that is remembered, got {number}")


Listener = Callable[[Incident, Event], None]


class Learner(Protocol):
    """Takes what is now for usual."""

    def accept(self, alert: Alert) -> None:
        """Of an alert's signal."""
        ...

    def relearn(self, service: str) -> bool:
        """Of all signals of a service; whether it is known."""
        ...


class IncidentBook:
    """All incidents, the latest last, and the silences."""

    def __init__(
        self,
        alerts: AlertBook,
        changes: Changes,
        learner: Learner,
        clock: Callable[[], float],
        calls: Callable[[], Calls] = dict,
    ) -> None:
        """`calls` says which service asks which."""
        self.silences: list[Silence] = []
        self._incidents: deque[Incident] = deque()
        self._alerts, self._changes, self._learner, self._clock = alerts, changes, learner, clock
        self._calls = calls
        self._incident_ids, self._silence_ids = itertools.count(1), itertools.count(1)
        self._listeners: list[Listener] = []
        alerts.listen(self._take)

    def __iter__(self) -> Iterator[Incident]:
        return iter(self._incidents)

    def listen(self, listener: Listener) -> None:
        """Call `listener` whenever something happens to an incident; ask `is_silenced` whether to tell anyone."""
        self._listeners.append(listener)

    def find(self, number: int) -> Incident:
        """The incident of this id.

        Raises:
            UnknownIncidentError: there is none.
        """
        for incident in self._incidents:
            if incident.id == number:
                return incident
        raise UnknownIncidentError(number)

    def is_silenced(self, incident: Incident) -> bool:
        """Whether every alert of it that fires (all, once it has ended) is covered by a silence."""
        now_s = self._clock()
        return all(
            any(silence.covers(alert, now_s) for silence in self.silences)
            for alert in incident.firing or incident.alerts
        )

    def acknowledge(self, number: int, *, by: str, note: str = "") -> Incident:
        """Note who looks after an incident."""
        incident = self.find(number)
        incident.acknowledged = Acknowledgement(by=by, note=note, at_s=self._clock())
        self._tell(incident, Event.ACKNOWLEDGED)
        return incident

    def accept(self, number: int, *, by: str, why: str = "") -> Incident:
        """End an incident because what its signals are now is normal from now on."""
        incident = self.find(number)
        reason = f": {why}" if why else ""
        for alert in incident.firing:
            text = f"{alert.signal} as it is now is normal, says {by}{reason}"
            self._changes.add(Change(time_s=self._clock(), service=alert.service, kind="accepted", text=text))
            self._learner.accept(alert)
        return incident

    def relearn(self, service: str, *, by: str, why: str) -> bool:
        """Take all that a service does now for usual, as a rollout says of a version that it has judged; whether the
        service is known."""
        is_known = self._learner.relearn(service)
        if is_known:
            text = f"all as it is now is normal, says {by}: {why}"
            self._changes.add(Change(time_s=self._clock(), service=service, kind="accepted", text=text))
        return is_known

    def silence(self, silence: Silence) -> Silence:
        """Tell nobody of what `silence` covers, until it ends; returns it with the id it has got."""
        made = replace(silence, id=next(self._silence_ids))
        self.silences.append(made)
        return made

    def lift(self, number: int) -> None:
        """End the silence of this id, if there is one."""
        self.silences = [silence for silence in self.silences if silence.id != number]

    def expire(self, before_s: float) -> None:
        """Forget incidents that ended, and silences that ran out, before this."""
        self._incidents = deque(each for each in self._incidents if each.ended_s is None or each.ended_s >= before_s)
        self.silences = [silence for silence in self.silences if silence.until_s >= before_s]

    def document(self) -> dict[str, Any]:
        """What must survive a restart."""
        return {
            "incidents": [
                {
                    "id": incident.id,
                    "alerts": [alert.id for alert in incident.alerts],
                    "causes": [asdict(cause) for cause in incident.causes],
                    "ended_s": incident.ended_s,
                    "acknowledged": asdict(incident.acknowledged) if incident.acknowledged else None,
                }
                for incident in self._incidents
            ],
            "silences": [asdict(silence) for silence in self.silences],
        }

    def restore(self, document: dict[str, Any]) -> None:
        """Take up what `document` says; its alerts are those that the alert book has got back already."""
        alerts = {alert.id: alert for alert in self._alerts}
        for each in document["incidents"]:
            known = [alerts[number] for number in each["alerts"] if number in alerts]
            if not known:
                continue
            acknowledged = each["acknowledged"]
            self._incidents.append(
                Incident(
                    id=each["id"],
                    alerts=known,
                    causes=[Change(**cause) for cause in each["causes"]],
                    ended_s=each["ended_s"],
                    acknowledged=Acknowledgement(**acknowledged) if acknowledged else None,
                )
            )
        self.silences = [Silence(**each) for each in document["silences"]]
        self._incident_ids = _after(incident.id for incident in self._incidents)
        self._silence_ids = _after(silence.id for silence in self.silences)

    def _take(self, alert: Alert) -> None:
        if alert.state is State.FIRING:
            self._grow(alert)
        else:
            self._end(alert)

    def _grow(self, alert: Alert) -> None:
        incident = next((each for each in reversed(self._incidents) if alert in each.alerts), None)
        calls = self._calls()
        incident = incident or next((each for each in reversed(self._incidents) if belongs(alert, each, calls)), None)
        if incident is None:
            incident = Incident(id=next(self._incident_ids), alerts=[alert])
            self._incidents.append(incident)
            ended = [each for each in self._incidents if not each.is_open]
            for each in ended[: max(0, len(ended) - MAX_INCIDENTS)]:
                self._incidents.remove(each)
            event = Event.OPENED
        else:
            event = Event.GREW if incident.is_open else Event.REOPENED
            incident.ended_s = None
            if alert not in incident.alerts:
                incident.alerts.append(alert)
        incident.causes = causes(incident, self._changes, calls)
        self._tell(incident, event)

    def _end(self, alert: Alert) -> None:
        for incident in self._incidents:
            if incident.is_open and alert in incident.alerts and not incident.firing:
                incident.ended_s = alert.resolved_s
                self._tell(incident, Event.ENDED)

    def _tell(self, incident: Incident, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(incident, event)
            except Exception:
                logger.exception("incident %d: a listener failed on %s; the others are told", incident.id, event)


def _after(ids: Iterable[int]) -> "itertools.count[int]":
    return itertools.count(1 + max(ids, default=0))
