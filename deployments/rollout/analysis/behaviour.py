"""What the candidate answers: as the teacher or the baseline does, with the same answers as often, for every kind of
requests."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from deployments.rollout.analysis import bets, counts
from deployments.rollout.analysis.finding import of_evidence
from deployments.rollout.analysis.proportions import above, excess
from deployments.rollout.analysis.settings import AnalysisSettings
from deployments.rollout.analysis.starts import strongest
from deployments.rollout.analysis.verdict import Finding
from deployments.rollout.evidence import Arm, Paired, Slice, Window

Windows = Sequence[Window]

MOST_KINDS = 64
"""Answers, and kinds of requests, that are looked at each on its own: those with the most rows."""


def fidelity(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding | None:
    """Agreement with the teacher, of rows that only one arm answered and of those that both did, else with the
    baseline; where there are both, each has half of the chance of a false alarm. None where nothing was compared."""
    margin = settings.fidelity_margin
    apart = counts.of_both(windows, lambda arm: (arm.compared - arm.agreed, arm.compared))
    rows = [window.paired for window in windows]
    both = np.array([(each.only_baseline, each.only_candidate, each.judged) for each in rows], np.float64)
    changed = np.array([(each.rows - each.same, each.rows) for each in rows], np.float64)
    has_teacher = bool(len(rows)) and bool(apart[:, 1].sum() + both[:, 2].sum())
    if not has_teacher and (settings.most_changed is None or not changed.sum()):
        return None
    if not has_teacher:
        most = settings.most_changed
        nats = strongest(changed, lambda each: above(each, most or 0.0)).nats
        num, of = changed.sum(axis=0)
        return of_evidence("fidelity", nats, needed_nats, f"{num / of:.2%} of {of:,.0f} rows answered otherwise")
    by_arm = strongest(apart, lambda each: excess(each, margin)).nats
    by_pair = strongest(both, lambda each: bets.paired(each, margin)).nats
    needed_nats += math.log(2) if apart[:, 1].any() and both[:, 2].any() else 0.0
    if by_pair > by_arm:
        lost, won, of = both.sum(axis=0)
        text = f"of {of:,.0f} rows {lost:,.0f} as the teacher by the baseline alone, {won:,.0f} by the candidate alone"
    else:
        text = f"not as the teacher: {counts.as_text(apart, 'rows')}"
    return of_evidence("fidelity", max(by_arm, by_pair), needed_nats, text)


def answers(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding | None:
    """How often each answer is given, more often or less; none where no answers were counted."""
    margin = settings.answers_margin
    ours = counts.summed(window.candidate.answers for window in windows)
    theirs = counts.summed(window.baseline.answers for window in windows)
    num_ours, num_theirs = sum(ours.values()), sum(theirs.values())
    names = _largest({name: ours.get(name, 0) + theirs.get(name, 0) for name in ours.keys() | theirs.keys()})
    if margin is None or not names:
        return None
    each = np.array([(ours.get(name, 0), num_ours, theirs.get(name, 0), num_theirs) for name in names], np.float64)
    nats = np.maximum(excess(each, margin), excess(each[:, [2, 3, 0, 1]], margin))
    worst = int(np.argmax(nats))
    text = f"answer {names[worst]}: {counts.as_text(each[worst : worst + 1], 'rows')}"
    return of_evidence("answers", float(nats[worst]), needed_nats + math.log(2 * MOST_KINDS), text)


def slices(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding | None:
    """The kind of requests that the candidate surely answers worst; none where none are told apart."""
    margin = settings.slice_margin
    ours = _slices([window.candidate for window in windows])
    theirs = _slices([window.baseline for window in windows])
    found: list[tuple[float, str]] = []
    for name in _largest({name: each.requests + each.compared for name, each in ours.items()}):
        one, other = ours[name], theirs.get(name, Slice())
        for what, of in (("failed", _failed), ("not as the teacher", _missed)):
            each = np.array([[*of(one), *of(other)]], np.float64)
            text = f"{name}, {what}: {counts.as_text(each, 'rows' if of is _missed else 'requests')}"
            found.append((float(excess(each[0], margin)), text))
    found += _paired_slices(windows, settings)
    if not found:
        return None
    nats, text = max(found)
    return of_evidence("slices", nats, needed_nats + math.log(3 * MOST_KINDS), text)


def _paired_slices(windows: Windows, settings: AnalysisSettings) -> Iterable[tuple[float, str]]:
    pairs: dict[str, Paired] = {}
    for window in windows:
        for name, each in window.paired_slices.items():
            pairs[name] = pairs.get(name, Paired()) + each
    for name in _largest({name: each.rows for name, each in pairs.items()}):
        each = pairs[name]
        if each.judged:
            lost, won, of = each.only_baseline, each.only_candidate, each.judged
            text = f"{name}: of {of:,} rows {lost:,} as the teacher by the baseline alone, {won:,} by the candidate"
            yield float(bets.paired((lost, won, of), settings.slice_margin)), text
        elif settings.most_changed is not None:
            changed = each.rows - each.same
            nats = float(above((changed, each.rows), settings.most_changed + settings.slice_margin))
            yield nats, f"{name}: {changed:,} of {each.rows:,} rows answered otherwise"


def _slices(arms: Iterable[Arm]) -> dict[str, Slice]:
    found: dict[str, Slice] = {}
    for arm in arms:
        for name, each in arm.slices.items():
            found[name] = found.get(name, Slice()) + each
    return found


def _largest(rows: dict[str, int]) -> list[str]:
    return sorted(rows, key=lambda name: (-rows[name], name))[:MOST_KINDS]


def _failed(each: Slice) -> tuple[int, int]:
    return each.errors, each.requests


def _missed(each: Slice) -> tuple[int, int]:
    return each.compared - each.agreed, each.compared
