"""Runs a service's watches: frames in, alerts out.

Frame -> Watch (scores) -> Verdict -> Machine (decides) -> Alert
"""

import math
from collections.abc import Sequence

from telemetry.series.frame import Frame
from telemetry.watching.alerts import Alert, AlertBook
from telemetry.watching.decision import Machine, State
from telemetry.watching.watch import Verdict, Watch

QUIET_S = 60.0
"""Seconds without a value after which an alert ends, because its traffic has ended."""


class Watcher:
    """Runs one service's watches and keeps their alerts up to date."""

    def __init__(self, service: str, watches: Sequence[Watch], book: AlertBook) -> None:
        self._service = service
        self._watched = [_Watched(watch) for watch in watches]
        self._book = book

    def see(self, frame: Frame) -> None:
        """Take a frame; raise, change and resolve alerts."""
        for watched in self._watched:
            verdict = watched.watch.see(frame)
            if verdict is None:
                self._end_if_quiet(watched, frame.time_s)
                continue
            watched.seen_s = verdict.time_s
            state = watched.machine.step(verdict.unusual, verdict.time_s)
            if state is State.FIRING:
                self._raise(watched, verdict)
            elif watched.alert and watched.alert.state is State.FIRING:
                self._resolve(watched.alert, verdict.time_s)

    def tick(self, now_s: float) -> None:
        """End alerts about which nothing more is heard."""
        for watched in self._watched:
            self._end_if_quiet(watched, now_s)

    def accept(self, alert: Alert, now_s: float) -> None:
        """Take what `alert`'s signal is now for usual from now on."""
        for watched in self._watched:
            if watched.alert is alert:
                watched.machine.resolve(now_s)
                watched.watch.relearn()
                alert.state, alert.resolved_s, alert.ended_by = State.RESOLVED, now_s, "accepted"
                self._book.changed(alert)

    def _raise(self, watched: "_Watched", verdict: Verdict) -> None:
        alert = watched.alert
        if alert is None or (alert.state is not State.FIRING and not watched.machine.is_refractory(verdict.time_s)):
            alert = watched.alert = Alert(
                id=self._book.next_id(),
                service=self._service,
                signal=watched.watch.signal,
                state=State.FIRING,
                started_s=watched.machine.since_s,
                fired_s=verdict.time_s,
                value=verdict.value,
                expected_low=verdict.expected[0],
                expected_high=verdict.expected[1],
                score=-math.inf,
                sentence="",
            )
        begins = alert.score == -math.inf
        relapses = alert.state is not State.FIRING
        alert.state, alert.resolved_s, alert.last = State.FIRING, None, verdict.value
        if verdict.score > alert.score:
            alert.score, alert.value = verdict.score, verdict.value
            alert.expected_low, alert.expected_high = verdict.expected
            alert.sentence = f"{self._service}: {verdict.sentence}"
        if begins:
            self._book.add(alert)
        elif relapses:
            self._book.changed(alert)

    def _resolve(self, alert: Alert, now_s: float) -> None:
        alert.state, alert.resolved_s, alert.ended_by = State.RESOLVED, now_s, "returned"
        self._book.changed(alert)

    def _end_if_quiet(self, watched: "_Watched", now_s: float) -> None:
        if watched.alert and watched.alert.state is State.FIRING and now_s - watched.seen_s > QUIET_S:
            watched.machine.resolve(now_s)
            self._resolve(watched.alert, now_s)


class _Watched:
    """A watch, what was decided about it and the alert it raised last."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.machine = Machine(watch.decision)
        self.alert: Alert | None = None
        self.seen_s = 0.0
