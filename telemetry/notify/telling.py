"""What happens to incidents becomes what is told of them."""

from collections.abc import Callable, Iterable

from telemetry.incidents.book import Event
from telemetry.incidents.incident import SEVERITY, Incident
from telemetry.incidents.runbooks import PAGE as RUNBOOKS
from telemetry.incidents.runbooks import RUNBOOK, kind_of, runbook_of
from telemetry.notify.notification import Notification
from telemetry.notify.notifier import Notifier
from telemetry.watching.alerts import Alert

PAGES_FROM = 3
"""Severity of a signal from which somebody is woken; what is less severe can wait for the morning."""


class Teller:
    """Listens to the incidents; a silence holds back what begins, not the end of what was told."""

    def __init__(
        self, notifier: Notifier, is_silenced: Callable[[Incident], bool], page: str, runbooks: str = RUNBOOKS
    ) -> None:
        self._notifier, self._is_silenced, self._page = notifier, is_silenced, page.rstrip("/")
        self._runbooks = runbooks
        self._held: set[int] = set()
        """Incidents that nobody was told of, since they were silenced."""

    def take(self, incident: Incident, event: Event) -> None:
        """Tell what has happened; `IncidentBook.listen` calls it."""
        if incident.is_open and event is not Event.ACKNOWLEDGED and self._is_silenced(incident):
            if event in (Event.OPENED, Event.REOPENED):
                self._held.add(incident.id)
            return
        if incident.is_open or incident.id not in self._held:
            told = notification(incident, self._page, self._runbooks)
            self._notifier.tell(told, acknowledged=incident.acknowledged is not None)
        self._held.discard(incident.id)

    def take_up(self, incidents: Iterable[Incident]) -> None:
        """Tell of those that are open and whose silence has ended; after a restart of all that are open, which the
        outbox tells only who has not been told.
        """
        for incident in incidents:
            if incident.is_open and not self._is_silenced(incident):
                self.take(incident, Event.GREW)
            elif incident.is_open:
                self._held.add(incident.id)


def notification(incident: Incident, page: str, runbooks: str = RUNBOOKS) -> Notification:
    """The incident as it stands; `page` is where people reach the page, or empty, `runbooks` where they read what to
    do.
    """
    worst = max(incident.alerts, key=_severity)
    return Notification(
        incident=str(incident.id),
        state="open" if incident.is_open else "ended",
        severity="page" if _severity(worst) >= PAGES_FROM else "ticket",
        service=incident.services[0],
        title=incident.title,
        cause="; ".join(cause.text for cause in incident.causes[:2]),
        started_s=incident.started_s,
        ended_s=incident.ended_s,
        link=f"{page}#incident/{incident.id}" if page else "",
        runbook=runbook_of(worst.signal, f"{page}/{RUNBOOK}" if page and runbooks == RUNBOOKS else runbooks),
    )


def _severity(alert: Alert) -> int:
    return SEVERITY.get(kind_of(alert.signal), 1)
