"""One version of a model: what it is asked, what it answers, whether its teacher agrees and the labels that come later.

Observed -> distributions (drift), shares (fidelity, accuracy), segments
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from telemetry.drift.model_drift import ModelDrift
from telemetry.drift.observed import Observed
from telemetry.fidelity.segments import Segments
from telemetry.fidelity.share import WatchedShare

MOST_WATCHED = 300
"""Distributions of one version; further ones are not watched."""
LEARNT_ROWS = 500
"""Labelled rows that stand for a reference where there is none."""
PROBLEMS = ("missing", "out_of_range", "new_category", "wrong_length")
"""Distributions that are of what is wrong with rows."""


class WatchedVersion:
    """Rows of one version in, readings out."""

    def __init__(self) -> None:
        self.drift = ModelDrift()
        self.bounds: dict[str, tuple[float, ...]] = {}
        """Of each watched distribution."""
        self.problems: dict[tuple[str, str], int] = {}
        """Sampled rows by column and by what is wrong with them there."""
        self.fidelity: WatchedShare | None = None
        self.accuracy: WatchedShare | None = None
        self.segments = Segments()
        self._first = 0, 0
        """The first labelled rows, right and wrong, where the manifest says no accuracy: what later ones are compared
        with."""

    def take_rows(self, seen: Observed) -> None:
        """Count sampled rows of one distribution."""
        if seen.name not in self.drift:
            if not seen.reference or len(self.bounds) >= MOST_WATCHED:
                return
            self.drift.watch(seen.name, seen.reference, seen.kind)
            self.bounds[seen.name] = seen.bounds
        if len(self.bounds[seen.name]) == len(seen.bounds):
            self.drift.take({seen.name: seen.counts})

    def take_problem(self, column: str, problem: str, num_rows: int) -> None:
        """Count rows that have a problem in a column."""
        if (column, problem) in self.problems or len(self.problems) < MOST_WATCHED:
            self.problems[column, problem] = self.problems.get((column, problem), 0) + num_rows

    def take_fidelity(self, seen: Observed) -> None:
        """Count shadowed rows."""
        self.fidelity = self.fidelity or _share(seen.reference)
        if self.fidelity is not None:
            self.fidelity.take(num_good=int(seen.counts[0]), num_bad=int(seen.counts[1:].sum()))

    def take_accuracy(self, seen: Observed) -> None:
        """Count labelled rows, of all or of a segment."""
        right, wrong = int(seen.counts[0]), int(seen.counts[1:].sum())
        if seen.segment is not None:
            self.segments.take(seen.segment, num_right=right, num_wrong=wrong)
            return
        self.accuracy = self.accuracy or _share(seen.reference)
        if self.accuracy is not None:
            self.accuracy.take(num_good=right, num_bad=wrong)
            return
        first_right, first_wrong = self._first[0] + right, self._first[1] + wrong
        self._first = first_right, first_wrong
        if first_right + first_wrong >= LEARNT_ROWS:
            self.accuracy = _share(self._first)

    def state(self) -> dict[str, Any]:
        """What it takes to go on after a restart, as JSON says it."""
        return {
            "drift": self.drift.state(),
            "bounds": {name: list(bounds) for name, bounds in self.bounds.items()},
            "problems": [[*key, count] for key, count in self.problems.items()],
            "fidelity": self.fidelity and self.fidelity.state(),
            "accuracy": self.accuracy and self.accuracy.state(),
            "segments": self.segments.state(),
            "first": list(self._first),
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "WatchedVersion":
        """The version that `state` is of."""
        version = cls()
        version.drift.restore(state["drift"])
        version.bounds = {name: tuple(bounds) for name, bounds in state["bounds"].items()}
        version.problems = {(column, problem): count for column, problem, count in state["problems"]}
        version.fidelity = WatchedShare.restored(state["fidelity"]) if state["fidelity"] else None
        version.accuracy = WatchedShare.restored(state["accuracy"]) if state["accuracy"] else None
        version.segments.restore(state["segments"])
        right, wrong = state["first"]
        version._first = int(right), int(wrong)
        return version

    def unusual(self) -> list[str]:
        """What has drifted or fallen, each in some words."""
        drifted = [each.name for each in self.drift.drifted()]
        shares = {"fidelity": self.fidelity, "accuracy": self.accuracy}
        fallen = [name for name, share in shares.items() if share is not None and share.has_fallen]
        return [*(f"{name} has drifted" for name in drifted), *(f"{name} has fallen" for name in fallen)]

    def view(self) -> dict[str, Any]:
        """What the page and reports show."""
        return {
            "distributions": [
                {
                    **asdict(reading),
                    "kind": self.drift[reading.name].kind,
                    "group": "problem" if reading.name in PROBLEMS else "distribution",
                    "bounds": self.bounds[reading.name],
                    "reference": self.drift[reading.name].reference.tolist(),
                    "window": self.drift[reading.name].window.tolist(),
                }
                for reading in self.drift.readings()
            ],
            "problems": [
                {"column": column, "problem": problem, "rows": count}
                for (column, problem), count in sorted(self.problems.items(), key=lambda each: -each[1])
            ],
            "fidelity": asdict(self.fidelity.reading()) if self.fidelity else None,
            "accuracy": asdict(self.accuracy.reading()) if self.accuracy else None,
            "segments": [asdict(segment) for segment in self.segments.worst()],
        }


def _share(reference: Sequence[int]) -> WatchedShare | None:
    return WatchedShare(num_good=reference[0], num_rows=sum(reference)) if reference else None
