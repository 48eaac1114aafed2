"""A report on a model's rows in a range of time, as one HTML page that loads nothing from elsewhere."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from telemetry import conventions as names
from telemetry.drift import bars, distances
from telemetry.drift.change_test import KNOWN_ROWS
from telemetry.drift.history import Counted, History
from telemetry.drift.version import PROBLEMS
from telemetry.fidelity.confidence_sequence import interval
from telemetry.fidelity.segments import SegmentReading, Segments

APART = 0.1
"""PSI from which a distribution that is not as the reference by chance is called apart, by custom."""
FEWEST_ROWS = 30
"""Rows of a distribution from which it is judged."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One distribution, as the report tells of it."""

    name: str
    rows: int
    psi: float
    by_chance: float
    """The PSI that one of all distributions would exceed in one report of a hundred."""
    ks: float
    judgement: str
    """"as before", "slightly apart", "apart", or "too few rows"."""
    bins: Markup
    over_time: Markup


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of good rows, as the report tells of it."""

    value: float
    low: float
    high: float
    rows: int
    expected: float | None
    has_fallen: bool
    over_time: Markup


@dataclass(frozen=True, kw_only=True)
class Version:
    """All that the report tells of one version."""

    number: str
    rows: Sequence[Row]
    problems: Sequence[tuple[str, str, int]]
    """Column, problem and rows, the most first."""
    fidelity: Share | None
    accuracy: Share | None
    segments: Sequence[SegmentReading]

    @property
    def num_apart(self) -> int:
        """Distributions that are apart."""
        return sum(row.judgement == "apart" for row in self.rows)


def render(history: History) -> str:
    """The report as HTML."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters["when"] = lambda time_s: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time_s))
    template = environment.from_string(resources.files("telemetry.drift").joinpath("report.html").read_text("utf-8"))
    return template.render(history=history, versions=[_version(history, number) for number in history.versions])


def _version(history: History, number: str) -> Version:
    own = [each for each in history.counted if each.version == number]
    watched = [each for each in own if each.metric == names.DRIFT_ROWS.name and each.reference]
    rows = [_row(each, len(watched)) for each in watched]
    order = ("apart", "slightly apart", "as before", "too few rows")
    segments = Segments()
    for each in own:
        if each.segment is not None:
            segments.take(each.segment, num_right=int(each.total[0]), num_wrong=int(each.total[1:].sum()))
    return Version(
        number=number,
        rows=sorted(rows, key=lambda row: (order.index(row.judgement), -row.psi)),
        problems=sorted(
            (
                (column, problem, count)
                for (version, column, problem), count in history.problems.items()
                if version == number and count
            ),
            key=lambda each: -each[2],
        ),
        fidelity=_share(own, names.FIDELITY_ROWS.name),
        accuracy=_share(own, names.ACCURACY_ROWS.name),
        segments=segments.worst()[:20],
    )


def _row(each: Counted, num_watched: int) -> Row:
    num_rows, total = int(each.total.sum()), each.total
    known = min(KNOWN_ROWS, sum(each.reference))
    found = distances.psi(each.reference, total) if num_rows else 0.0
    by_chance = distances.psi_by_chance(known, max(1, num_rows), len(total), 0.01 / max(1, num_watched))
    return Row(
        name=f"{each.name.replace('_', ' ')} rows" if each.name in PROBLEMS else each.name,
        rows=num_rows,
        psi=found,
        by_chance=by_chance,
        ks=distances.ks(each.reference, total),
        judgement=_judgement(found, by_chance, num_rows),
        bins=bars.bins(each.reference, total.tolist(), each.bounds, is_ordered=each.kind == "levels"),
        over_time=bars.line([distances.psi(each.reference, part) if part.any() else None for part in each.counts]),
    )


def _judgement(psi: float, by_chance: float, num_rows: int) -> str:
    if num_rows < FEWEST_ROWS:
        return "too few rows"
    if psi <= by_chance:
        return "as before"
    return "apart" if psi >= APART else "slightly apart"


def _share(own: Sequence[Counted], metric: str) -> Share | None:
    whole = [each for each in own if each.metric == metric and each.segment is None]
    parts = sum((each.counts for each in whole), np.zeros((1, 2), np.int64))
    good, rows = int(parts[:, 0].sum()), int(parts.sum())
    if not rows:
        return None
    low, high = interval(good, rows)
    reference = next((each.reference for each in whole if each.reference), None)
    expected = reference[0] / sum(reference) if reference else None
    least = interval(reference[0], sum(reference))[0] if reference else 0.0
    return Share(
        value=good / rows,
        low=low,
        high=high,
        rows=rows,
        expected=expected,
        has_fallen=high < least,
        over_time=bars.line([part[0] / part.sum() if part.sum() else None for part in parts]),
    )
