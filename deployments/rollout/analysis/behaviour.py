"""What the candidate answers: as the teacher or the baseline does, with the same answers as often, for every kind of
requests."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from deployments.rollout.analysis import bets, counts
from deployments.rollout.analysis.finding import of_evidence
from deployments.rollout.analysis.proportions import above, excess
from deployments.rollout.analysis.settings import AnalysisSettings
from deployments.rollout.analysis.starts import strongest
from deployments.rollout.analysis.verdict import Finding
from deployments.rollout.evidence import MOST_KINDS, NUMBER, NUMBER_BINS, Arm, Paired, Slice, Window, bin_start

Windows = Sequence[Window]


def fidelity(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding | None:
    """Agreement with the teacher, of rows that only one arm answered and of those that both did, else with the
    baseline; where there are both, each has half of the chance of a false alarm. None where nothing was compared."""
    apart = counts.of_both(windows, lambda arm: (arm.compared - arm.agreed, arm.compared))
    pairs = [window.paired for window in windows]
    together = sum(pairs, Paired())
    if not (apart[:, 1].any() or together.has_teacher):
        return _as_the_baseline(pairs, settings, needed_nats)
    margin = settings.fidelity_margin
    changed = together.rows - together.same
    if not apart[:, 1].any() and not together.judged and changed > margin * together.rows:
        text = f"the teacher judged none of {changed:,} rows that the versions answered otherwise"
        return Finding(signal="fidelity", kind="inconclusive", text=text, needed_nats=needed_nats)
    both = np.array([(each.only_baseline, each.only_candidate, each.known) for each in pairs], np.float64)
    by_arm = strongest(apart, lambda each: excess(each, margin)).nats
    by_pair = strongest(both, lambda each: bets.paired(each, margin)).nats
    needed_nats += math.log(2) if apart[:, 1].any() and together.has_teacher else 0.0
    if by_pair > by_arm or not apart[:, 1].any():
        text = _told(together)
    else:
        text = f"not as the teacher: {counts.as_text(apart, 'rows')}"
    return of_evidence("fidelity", max(by_arm, by_pair), needed_nats, text)


def _as_the_baseline(pairs: Sequence[Paired], settings: AnalysisSettings, needed_nats: float) -> Finding | None:
    """Rows answered otherwise, where there is no teacher to say who is right."""
    changed = np.array([(each.rows - each.same, each.rows) for each in pairs], np.float64)
    most = settings.most_changed
    if most is None or not changed.sum():
        return None
    nats = strongest(changed, lambda each: above(each, most)).nats
    num, of = changed.sum(axis=0)
    return of_evidence("fidelity", nats, needed_nats, f"{num / of:.2%} of {of:,.0f} rows answered otherwise")


def _told(each: Paired) -> str:
    """Whom the teacher agrees with, in words."""
    lost, won = f"{each.only_baseline:,}", f"{each.only_candidate:,}"
    return f"of {each.known:,} rows {lost} as the teacher by the baseline alone, {won} by the candidate alone"


def answers(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding | None:
    """How often each class is answered, more often or less, or numbers above each of some; none where neither was
    counted."""
    margin = settings.answers_margin
    ours = counts.summed(window.candidate.answers for window in windows)
    theirs = counts.summed(window.baseline.answers for window in windows)
    num_ours, num_theirs = sum(ours.values()), sum(theirs.values())
    names = ours.keys() | theirs.keys()
    if margin is None or not names:
        return None
    if any(name.startswith(NUMBER) for name in names):
        told, most = _numbers_above(ours, theirs), 2 * NUMBER_BINS
    else:
        largest = _largest({name: ours[name] + theirs[name] for name in names})
        told, most = {f"answer {name}": (ours[name], theirs[name]) for name in largest}, MOST_KINDS
    each = np.array([(one, num_ours, other, num_theirs) for one, other in told.values()], np.float64)
    nats = np.maximum(excess(each, margin), excess(each[:, [2, 3, 0, 1]], margin))
    worst = int(np.argmax(nats))
    text = f"{list(told)[worst]}: {counts.as_text(each[worst : worst + 1], 'rows')}"
    return of_evidence("answers", float(nats[worst]), needed_nats + math.log(2 * most), text)


def _numbers_above(ours: Counter[str], theirs: Counter[str]) -> dict[str, tuple[int, int]]:
    """How many of either lie above each bin of numbers."""
    found: dict[str, tuple[int, int]] = {}
    one = other = 0
    for place in sorted((int(name.removeprefix(NUMBER)) for name in ours.keys() | theirs.keys()), reverse=True):
        name = f"{NUMBER}{place}"
        one, other = one + ours[name], other + theirs[name]
        found[f"numbers from about {bin_start(place):.4g} on"] = one, other
    return found


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
    has_teacher = any(each.has_teacher for each in pairs.values())
    for name in _largest({name: each.rows for name, each in pairs.items()}):
        each = pairs[name]
        if has_teacher:
            numbers = each.only_baseline, each.only_candidate, each.known
            yield float(bets.paired(numbers, settings.slice_margin)), f"{name}: {_told(each)}"
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
