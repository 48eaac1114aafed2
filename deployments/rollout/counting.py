"""What one replica sees of a rollout, in windows that begin at the same seconds everywhere.

A replica of the baseline counts its own arm, and of the candidate's arm what it sent there and what failed; a replica
of the candidate counts how long its answers took. Of both, each tells what its own process takes.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from deployments.monitoring.answers import is_classifier, is_regressor, numbers
from deployments.monitoring.sampling import ROWS_OF_REQUEST, RowRate
from deployments.oip.tensors import Array
from deployments.rollout.answered import CLASS, Judge, Rows, Seen, alike, is_finite, rows_of, seen_of
from deployments.rollout.evidence import MOST_KINDS, Arm, Paired, Slice, Window, duration_bin, number_bins
from optimization.artifact.manifest import Manifest

ArmName = Literal["baseline", "candidate"]

KEPT = 24
"""Windows that are told again, for a controller that did not hear of them."""

wanted: ContextVar[list[Seen] | None] = ContextVar("wanted", default=None)
"""Where the answer to the request under way is put, where it is to be compared."""


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

    def sent(self, arm: ArmName, *, has_failed: bool, kinds: Iterable[str] = ()) -> None:
        """A request of these `kinds` went to `arm`."""
        window = self._window()
        counts = window.arms[arm]
        counts["requests"] += 1
        counts["errors"] += has_failed
        slices = window.slices[arm]
        for kind in kinds:
            if kind in slices or len(slices) < MOST_KINDS:
                slices[kind] = slices.get(kind, Slice()) + Slice(requests=1, errors=int(has_failed))

    def took(self, seconds: float) -> None:
        """This replica's own version has answered a request."""
        self._window().durations[duration_bin(seconds)] += 1

    def teacher_compared(self, num_rows: int, num_agreed: int) -> None:
        """The teacher has answered rows that this replica's own version had."""
        counts = self._window().arms[self._own]
        counts["compared"] += num_rows
        counts["agreed"] += num_agreed

    def see(
        self,
        manifest: Manifest,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        judge: Judge | None = None,
    ) -> None:
        """An answer of this replica's own version; `judge` asks its teacher."""
        window = self._window()
        window.arms[self._own]["checked"] += 1
        window.arms[self._own]["non_finite"] += not is_finite(outputs)
        asked = wanted.get()
        if asked is not None:
            asked.append(seen_of(manifest, inputs, outputs, judge))
        if self._rate.is_open() and (told := _answers(manifest, outputs)):
            self._rate.took(len(told))
            window.answers.update(told)

    def pair(
        self,
        baseline: Rows,
        candidate: Rows,
        truth: NDArray[np.int64] | None = None,
        *,
        has_teacher: bool = False,
        kinds: Iterable[str] = (),
    ) -> None:
        """Both versions have answered the same rows of a request of these `kinds`; `truth` are the teacher's classes of
        those that they answered otherwise, none where it was not asked or did not answer.
        """
        same = alike(baseline, candidate)
        ours, theirs = (np.zeros(len(same), np.bool_) for _ in range(2))
        if truth is not None:
            ours[~same] = _matches(candidate, ~same, truth)
            theirs[~same] = _matches(baseline, ~same, truth)
        counts = {
            "rows": np.ones_like(same),
            "same": same,
            "judged": ~same & (truth is not None),
            "only_baseline": theirs & ~ours,
            "only_candidate": ours & ~theirs,
            "missed": np.full_like(same, has_teacher and truth is None),
        }
        window = self._window()
        whole = Paired(**{name: int(each.sum()) for name, each in counts.items()})
        window.paired += whole
        told = dict.fromkeys(kinds, whole)
        for each in np.unique(baseline.get(CLASS, ())):
            of_class = baseline[CLASS] == each
            told[f"{CLASS}={each}"] = Paired(**{name: int(rows[of_class].sum()) for name, rows in counts.items()})
        for kind, rows in told.items():
            if kind in window.paired_slices or len(window.paired_slices) < MOST_KINDS:
                window.paired_slices[kind] = window.paired_slices.get(kind, Paired()) + rows

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
        arms = {name: _arm(counts, self._open.slices[name]) for name, counts in self._open.arms.items()}
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


def _answers(manifest: Manifest, outputs: Mapping[str, Array]) -> list[str]:
    """What the first rows were answered, by name: their classes, or the bins of their numbers."""
    if is_classifier(manifest):
        return [f"{CLASS}={each}" for each in rows_of(manifest, outputs)[CLASS]]
    if is_regressor(manifest):
        return number_bins(numbers(manifest, outputs)[:ROWS_OF_REQUEST])
    return []


def _matches(rows: Rows, where: NDArray[np.bool_], truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of those rows have that class."""
    told = rows.get(CLASS)
    if told is None or told.shape != where.shape:
        return np.zeros(len(truth), np.bool_)
    return np.asarray(told[where] == truth)


def _arm(counts: Mapping[str, int], slices: Mapping[str, Slice]) -> Arm:
    return Arm(
        requests=counts["requests"],
        errors=counts["errors"],
        compared=counts["compared"],
        agreed=counts["agreed"],
        checked=counts["checked"],
        non_finite=counts["non_finite"],
        slices=slices,
    )


class _Open:
    """The window that is now."""

    def __init__(self) -> None:
        self.arms: dict[ArmName, Counter[str]] = {"baseline": Counter(), "candidate": Counter()}
        self.slices: dict[ArmName, dict[str, Slice]] = {"baseline": {}, "candidate": {}}
        self.durations: Counter[int] = Counter()
        self.answers: Counter[str] = Counter()
        self.paired = Paired()
        self.paired_slices: dict[str, Paired] = {}
