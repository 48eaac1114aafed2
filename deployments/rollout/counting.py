"""What one replica sees of a rollout, in windows that begin at the same seconds everywhere.

A replica of the baseline counts its own arm, and of the candidate's arm what it sent there and what failed; a replica
of the candidate counts how long its answers took. Of both, each tells what its own process takes.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Literal

import numpy as np
import psutil

from deployments.monitoring.answers import is_classifier
from deployments.monitoring.sampling import RowRate
from deployments.oip.tensors import Array
from deployments.rollout.answered import CLASS, Rows, alike, is_finite, rows_of
from deployments.rollout.evidence import Arm, Paired, Window, duration_bin
from optimization.artifact.manifest import Manifest

ArmName = Literal["baseline", "candidate"]

KEPT = 24
"""Windows that are told again, for a controller that did not hear of them."""

wanted: ContextVar[list[Rows] | None] = ContextVar("wanted", default=None)
"""Where the rows of the answer to the request under way are put, where they are to be compared."""


class Counting:
    """Belongs to one event loop."""

    def __init__(self, own: ArmName, process: str, window_s: float, clock: Callable[[], float] = time.time) -> None:
        """`process` names this process as no other one, not even the one that takes its place."""
        self._own = own
        self._process = process
        self._window_s = window_s
        self._clock = clock
        self._over: deque[Window] = deque(maxlen=KEPT)
        self._rate = RowRate()
        self._index = self._now()
        self._cpu_s = time.process_time()
        self._open = _Open()

    def sent(self, arm: ArmName, *, has_failed: bool) -> None:
        """A request went to `arm`."""
        counts = self._window().arms[arm]
        counts["requests"] += 1
        counts["errors"] += has_failed

    def took(self, seconds: float) -> None:
        """This replica's own version has answered a request."""
        self._window().durations[duration_bin(seconds)] += 1

    def teacher_compared(self, num_rows: int, num_agreed: int) -> None:
        """The teacher has answered rows that this replica's own version had."""
        counts = self._window().arms[self._own]
        counts["compared"] += num_rows
        counts["agreed"] += num_agreed

    def see(self, manifest: Manifest, outputs: Mapping[str, Array]) -> None:
        """The outputs of an answer of this replica's own version."""
        window = self._window()
        window.arms[self._own]["checked"] += 1
        window.arms[self._own]["non_finite"] += not is_finite(outputs)
        asked = wanted.get()
        if asked is None and not (is_classifier(manifest) and self._rate.is_open()):
            return
        rows = rows_of(manifest, outputs)
        if asked is not None:
            asked.append(rows)
        if CLASS in rows and self._rate.is_open():
            self._rate.took(len(rows[CLASS]))
            window.answers.update(f"{CLASS}={each}" for each in rows[CLASS])

    def pair(self, baseline: Rows, candidate: Rows) -> None:
        """Both versions have answered the same rows."""
        same = alike(baseline, candidate)
        window = self._window()
        window.paired += Paired(rows=len(same), same=int(same.sum()))
        for each in np.unique(baseline.get(CLASS, ())):
            of_class = baseline[CLASS] == each
            kind = f"{CLASS}={each}"
            told = Paired(rows=int(of_class.sum()), same=int(same[of_class].sum()))
            window.paired_slices[kind] = window.paired_slices.get(kind, Paired()) + told

    def over(self) -> tuple[Window, ...]:
        """The last windows that are over; they change no more."""
        self._window()
        return tuple(self._over)

    def _now(self) -> int:
        return int(self._clock() // self._window_s)

    def _window(self) -> "_Open":
        """The one that is now; those before it are over."""
        index = self._now()
        if index > self._index:
            self._over.append(self._closed())
            self._index, self._cpu_s, self._open = index, time.process_time(), _Open()
        return self._open

    def _closed(self) -> Window:
        arms = {name: _arm(counts) for name, counts in self._open.arms.items()}
        arms[self._own] = replace(
            arms[self._own],
            asked=1,
            told=1,
            durations=dict(self._open.durations),
            answers=dict(self._open.answers),
            memory_bytes={self._process: psutil.Process().memory_info().rss},
            cpu_s=time.process_time() - self._cpu_s,
        )
        start_s = self._index * self._window_s
        return Window(
            start_s=start_s,
            end_s=start_s + self._window_s,
            baseline=arms["baseline"],
            candidate=arms["candidate"],
            paired=self._open.paired,
            paired_slices=self._open.paired_slices,
        )


def _arm(counts: Mapping[str, int]) -> Arm:
    return Arm(
        requests=counts["requests"],
        errors=counts["errors"],
        compared=counts["compared"],
        agreed=counts["agreed"],
        checked=counts["checked"],
        non_finite=counts["non_finite"],
    )


class _Open:
    """The window that is now."""

    def __init__(self) -> None:
        self.arms: dict[ArmName, Counter[str]] = {"baseline": Counter(), "candidate": Counter()}
        self.durations: Counter[int] = Counter()
        self.answers: Counter[str] = Counter()
        self.paired = Paired()
        self.paired_slices: dict[str, Paired] = {}
