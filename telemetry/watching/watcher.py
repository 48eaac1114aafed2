"""Runs a service's watches: frames in, alerts out.

Frame -> Watch (scores) -> Verdict -> Machine (decides) -> Alert
           '<------ settle (learn, or not) ---'
"""

import math
from collections.abc import Collection, Sequence
from typing import Any

from telemetry.series.frame import Frame
from telemetry.series.instance import Instance
from telemetry.watching.alerts import Alert, AlertBook
from telemetry.watching.decision import Machine, State
from telemetry.watching.presence import PresenceWatch
from telemetry.watching.watch import Judge, Verdict, Watch

LEFT_S = 900.0
"""Seconds after the last process ended in order after which alerts end, as nobody is left who could be back."""
ASKED_S = 0.9
"""Seconds between two questions who is there."""


class Watcher:
    """Runs one service's watches and keeps their alerts up to date.

    Times with which it judges are steady ones; those of its alerts are the wall clock's.
    """

    def __init__(self, service: str, watches: Sequence[Watch], book: AlertBook) -> None:
        self.service = service
        self._watches = watches
        self._watched = [_Watched(watch) for watch in watches]
        self._presence = PresenceWatch()
        self._absent = _Watched(self._presence)
        self._book = book
        self._hosts: list[str] = []
        self._asked_s = -math.inf

    def is_firing(self) -> bool:
        """Whether one of its alerts is not over."""
        return any(each.fires() for each in (*self._watched, self._absent))

    def see(self, frame: Frame) -> None:
        """Take a frame; raise, change and resolve alerts."""
        self._hosts = sorted({each.host for each in frame.instances.values() if each.host})
        for watch, watched in zip(self._watches, self._watched, strict=True):
            verdict = watch.see(frame)
            if verdict is not None:
                self._take(watched, verdict, frame.steady_s, frame.time_s)
            watch.settle(watched.machine.state, frame.steady_s)

    def tick(self, instances: Collection[Instance], steady_s: float, now_s: float) -> None:
        """Look who is there; end alerts of a service that nobody is left of."""
        if 0 <= steady_s - self._asked_s < ASKED_S:
            return
        self._asked_s = steady_s
        verdict = self._presence.ask(instances, steady_s)
        if verdict is not None:
            self._take(self._absent, verdict, steady_s, now_s)
        if self._presence.has_left(steady_s, LEFT_S):
            for watched in self._watched:
                if watched.fires():
                    self._end(watched, steady_s, now_s, "left")

    def accept(self, alert: Alert, steady_s: float, now_s: float) -> None:
        """Take what `alert`'s signal is now for usual from now on."""
        for watched in (*self._watched, self._absent):
            if watched.alert is alert:
                self._relearn(watched, steady_s, now_s)

    def relearn(self, steady_s: float, now_s: float) -> None:
        """Take all that the service does now for usual, as a rollout says of a version it has judged."""
        for watched in (*self._watched, self._absent):
            self._relearn(watched, steady_s, now_s)

    def document(self) -> dict[str, Any]:
        """What must survive a restart, by signal."""
        return {
            watched.judge.signal: {
                "watch": watched.judge.document(),
                "machine": watched.machine.document(),
                "alert": watched.alert.id if watched.alert else None,
            }
            for watched in (*self._watched, self._absent)
        }

    def restore(self, document: dict[str, Any], steady_s: float) -> None:
        """Go on from `document`; its alerts are those that the book has got back already."""
        alerts = {alert.id: alert for alert in self._book}
        for watch, watched in zip(self._watches, self._watched, strict=True):
            if kept := document.get(watch.signal):
                watched.machine.restore(kept["machine"])
                watch.restore(kept["watch"])
                watch.settle(watched.machine.state, steady_s)
                watched.alert = alerts.get(kept["alert"])
        kept = document[self._presence.signal]
        self._absent.machine.restore(kept["machine"])
        self._presence.restore(kept["watch"], steady_s)
        self._absent.alert = alerts.get(kept["alert"])

    def _take(self, watched: "_Watched", verdict: Verdict, steady_s: float, now_s: float) -> None:
        fired = watched.fires()
        state = watched.machine.step(
            verdict.unusual, verdict.calm, steady_s, verdict.evidence, stands_for=verdict.stands_for
        )
        if state is State.FIRING:
            self._raise(watched, verdict, steady_s, now_s)
        elif fired:
            self._end(watched, steady_s, now_s, "returned")

    def _raise(self, watched: "_Watched", verdict: Verdict, steady_s: float, now_s: float) -> None:
        alert = watched.alert
        is_new = alert is None or (alert.state is not State.FIRING and not watched.machine.is_refractory(steady_s))
        if alert is None or is_new:
            alert = watched.alert = Alert(
                id=self._book.next_id(),
                service=self.service,
                signal=watched.judge.signal,
                instance=verdict.instance,
                hosts=sorted(verdict.hosts) or self._hosts,
                state=State.FIRING,
                started_s=now_s - max(0.0, steady_s - watched.machine.since_s),
                fired_s=now_s,
                value=verdict.value,
                expected_low=verdict.expected[0],
                expected_high=verdict.expected[1],
                score=-math.inf,
                sentence="",
            )
        relapses = alert.state is not State.FIRING
        alert.state, alert.resolved_s, alert.ended_by, alert.last = State.FIRING, None, "", verdict.value
        if verdict.score > alert.score:
            alert.score, alert.value, alert.instance = verdict.score, verdict.value, verdict.instance
            alert.expected_low, alert.expected_high = verdict.expected
            alert.sentence = f"{self.service}: {verdict.sentence}"
        if is_new:
            self._book.add(alert)
        elif relapses:
            self._book.changed(alert)

    def _end(self, watched: "_Watched", steady_s: float, now_s: float, ended_by: str) -> None:
        if watched.machine.state is State.FIRING:
            watched.machine.resolve(steady_s)
        alert = watched.alert
        if alert is not None and alert.state is State.FIRING:
            alert.state, alert.resolved_s, alert.ended_by = State.RESOLVED, now_s, ended_by
            self._book.changed(alert)

    def _relearn(self, watched: "_Watched", steady_s: float, now_s: float) -> None:
        watched.judge.relearn()
        if watched.fires():
            self._end(watched, steady_s, now_s, "accepted")


class _Watched:
    """A judge, what was decided about it and the alert it raised last."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.machine = Machine(judge.decision)
        self.alert: Alert | None = None

    def fires(self) -> bool:
        """Whether its alert is not over."""
        return self.machine.state is State.FIRING
