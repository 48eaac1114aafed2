"""Watches all services, and keeps what is known of them over restarts.

Service -> Frame -> Noticer (changes), Watcher -> AlertBook -> IncidentBook
                                            '-> Documents: at each change of an alert, and every `SAVE_S`
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from telemetry.drift.service import ServiceDrift
from telemetry.drift.watch import model_watches
from telemetry.incidents.book import Event, IncidentBook
from telemetry.incidents.calls import Calls
from telemetry.incidents.changes import Change, Changes
from telemetry.incidents.incident import Incident
from telemetry.incidents.noticing import Noticer
from telemetry.series.frame import Frame
from telemetry.series.service import Service
from telemetry.slo.objective import Objective
from telemetry.slo.watch import BudgetWatch
from telemetry.storage.documents import Documents
from telemetry.watching.alerts import Alert, AlertBook
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.steady import SteadyClock
from telemetry.watching.watcher import Watcher
from telemetry.watching.watches import watches

logger = logging.getLogger(__name__)

SAVE_S = 10.0
"""Seconds between two writes of one service's baselines; each service has a turn of its own."""
FORGOTTEN_S = 24 * 3600.0
"""A service of which nothing has been heard for so long is forgotten, unless an alert of it fires."""
ENDED_KEPT_S = 30 * 24 * 3600.0
"""For how long ended alerts, incidents and silences are remembered, if there are not too many."""
BOOKS, SERVICE = "watching", "watching/"
FORMAT = 1
"""Of the documents; those of another are put aside."""


class Watchers:
    """The watchers of all services, their alerts and incidents."""

    def __init__(
        self,
        config: DetectionConfig,
        documents: Documents,
        clock: Callable[[], float],
        objectives: Sequence[Objective] = (),
        calls: Callable[[], Calls] = dict,
    ) -> None:
        self.alerts = AlertBook()
        self.changes = Changes()
        self.incidents = IncidentBook(self.alerts, self.changes, self, clock, calls)
        self._config, self._documents, self._clock = config, documents, clock
        self._steady = SteadyClock(clock())
        self.drift: dict[str, ServiceDrift] = {}
        """What is known of each service's models."""
        self.budgets: dict[str, list[BudgetWatch]] = {}
        """What is left of each service's objectives."""
        self._objectives = objectives
        self._watchers: dict[str, Watcher] = {}
        self._noticers: dict[str, Noticer] = {}
        self._heard_s: dict[str, float] = {}
        self._saved_s: dict[str, float] = {}
        self._books_changed = False
        self._restore()
        self.alerts.listen(self._alert_changed)
        self.incidents.listen(self._incident_changed)

    def see(self, service: str, frame: Frame) -> None:
        """Take a frame of a service."""
        frame.steady_s = self._steady.at(self._clock())
        self._heard_s[service] = frame.steady_s
        if service not in self._noticers:
            self._noticers[service] = Noticer(service, self.changes)
        self._noticers[service].see(frame)
        self._watcher(service).see(frame)

    def look(self, service: Service) -> None:
        """Look who of a service is there."""
        now_s = self._clock()
        if watcher := self._watchers.get(service.name):
            watcher.tick(service.instances.values(), self._steady.at(now_s), now_s)

    def tick(self, services: Mapping[str, Service]) -> None:
        """Miss services that were known before a restart and have not come back; write what is due; forget the old."""
        now_s = self._clock()
        steady_s = self._steady.at(now_s)
        for name, watcher in self._watchers.items():
            if name not in services:
                watcher.tick((), steady_s, now_s)
        due = [name for name, saved_s in self._saved_s.items() if steady_s - saved_s >= SAVE_S]
        for name in due[: 1 + len(due) // 10]:
            self._save(name, steady_s)
        if self._books_changed:
            self.incidents.expire(now_s - ENDED_KEPT_S)
            self.alerts.expire(now_s - ENDED_KEPT_S)
            self._save_books()
        for name in [name for name, heard_s in self._heard_s.items() if steady_s - heard_s > FORGOTTEN_S]:
            if not self._watchers[name].is_firing():
                self._forget(name)

    def accept(self, alert: Alert) -> None:
        """Take what the alert's signal is now for usual from now on."""
        if watcher := self._watchers.get(alert.service):
            now_s = self._clock()
            watcher.accept(alert, self._steady.at(now_s), now_s)
            self._saved_s[alert.service] = float("-inf")

    def relearn(self, service: str) -> bool:
        """Take all that a service does now for usual; whether it is known."""
        watcher = self._watchers.get(service)
        if watcher is not None:
            now_s = self._clock()
            watcher.relearn(self._steady.at(now_s), now_s)
            self._saved_s[service] = float("-inf")
        return watcher is not None

    def told(self, change: Change) -> None:
        """Remember a change that somebody tells of, unless it is known from before a restart."""
        if change not in self.changes:
            self.changes.add(change)
            self._books_changed = True

    def save(self) -> None:
        """Write everything, as when the collector stops."""
        steady_s = self._steady.at(self._clock())
        for name in self._watchers:
            self._save(name, steady_s)
        self._save_books()

    def _watcher(self, service: str) -> Watcher:
        watcher = self._watchers.get(service)
        if watcher is None:
            found = self.drift[service] = ServiceDrift()
            budgets = [BudgetWatch(each) for each in self._objectives if each.holds_for(service)]
            self.budgets[service] = budgets
            watched = [*watches(service, self._config), *model_watches(found), *budgets]
            watcher = self._watchers[service] = Watcher(service, watched, self.alerts)
            self._saved_s[service] = self._heard_s.setdefault(service, self._steady.at(self._clock()))
            self._books_changed = True
        return watcher

    def _alert_changed(self, alert: Alert) -> None:
        self._books_changed = True
        if alert.service in self._saved_s:
            self._saved_s[alert.service] = float("-inf")

    def _incident_changed(self, incident: Incident, event: Event) -> None:  # noqa: ARG002 - a listener's signature
        self._books_changed = True

    def _save(self, name: str, steady_s: float) -> None:
        document = {"watcher": self._watchers[name].document(), "drift": self.drift[name].state()}
        self._documents.keep(SERVICE + name, {"format": FORMAT, **document})
        self._saved_s[name] = steady_s

    def _save_books(self) -> None:
        self._documents.keep(
            BOOKS,
            {
                "format": FORMAT,
                "services": sorted(self._watchers),
                "alerts": self.alerts.document(),
                "incidents": self.incidents.document(),
                "changes": self.changes.document(),
            },
        )
        self._books_changed = False

    def _restore(self) -> None:
        books = self._kept(BOOKS)
        if books is None:
            return
        try:
            self.alerts.restore(books["alerts"])
            self.changes.restore(books["changes"])
            self.incidents.restore(books["incidents"])
            services = [str(name) for name in books["services"]]
        except (LookupError, TypeError, ValueError) as error:
            self._put_aside(BOOKS, books, error)
            return
        for name in services:
            document = self._kept(SERVICE + name)
            if document is None:
                continue
            try:
                self._watcher(name).restore(document["watcher"], self._steady.at(self._clock()))
                self.drift[name].restore(document["drift"])
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                self._put_aside(SERVICE + name, document, error)
                del self._watchers[name]
                del self.budgets[name]
                self._watcher(name)
        self.changes.add(Change(time_s=self._clock(), service="", kind="collector", text="the collector began anew"))

    def _kept(self, name: str) -> Any | None:
        document = self._documents.kept(name)
        if document is None or (isinstance(document, dict) and document.get("format") == FORMAT):
            return document
        self._put_aside(name, document, ValueError(f"format must be {FORMAT}"))
        return None

    def _put_aside(self, name: str, document: Any, error: Exception) -> None:
        logger.error("%s, kept before the restart, cannot be read and is put aside: %r; it is learnt anew", name, error)
        self._documents.keep(f"{name} (put aside)", document)

    def _forget(self, name: str) -> None:
        for known in (self._watchers, self.drift, self.budgets, self._noticers, self._heard_s, self._saved_s):
            known.pop(name, None)
        self._books_changed = True
