"""Whether evidence can be what was seen: what cannot is no evidence."""

import math
from collections.abc import Iterable, Mapping

from deployments.rollout.evidence import Arm, Paired, Slice, Window


def fault(window: Window) -> str | None:
    """What is wrong with the numbers of a window, none where nothing is."""
    took_s = window.end_s - window.start_s
    if not (math.isfinite(took_s) and took_s > 0):
        return f"a window must end after its start, got {window.start_s} to {window.end_s}"
    for name, arm in (("baseline", window.baseline), ("candidate", window.candidate)):
        if found := _of_arm(arm):
            return f"{found} of the {name}"
    return next((found for each in (window.paired, *window.paired_slices.values()) if (found := _of_pairs(each))), None)


def gap(window: Window) -> str | None:
    """What is missing in a window, none where nothing is."""
    for name, arm in (("baseline", window.baseline), ("candidate", window.candidate)):
        if arm.told < arm.asked or not arm.told:
            return f"{arm.told} of the {name}'s {arm.asked} processes told what they saw"
    return None


def _of_arm(arm: Arm) -> str | None:
    if not (math.isfinite(arm.cpu_s) and arm.cpu_s >= 0):
        return f"cpu_s must be a number of seconds, got {arm.cpu_s}"
    for name, counts in (("durations", arm.durations), ("answers", arm.answers), ("memory_bytes", arm.memory_bytes)):
        if _has_negative(counts):
            return f"{name} must not be negative, got {dict(counts)}"
    if not 0 <= arm.told <= arm.asked:
        return f"told must lie in [0, asked], got {arm.told} of {arm.asked}"
    whole = Slice(requests=arm.requests, errors=arm.errors, compared=arm.compared, agreed=arm.agreed)
    if found := next((found for each in (whole, *arm.slices.values()) if (found := _of_slice(each))), None):
        return found
    if not 0 <= arm.non_finite <= arm.checked:
        return f"non_finite must lie in [0, checked], got {arm.non_finite} of {arm.checked}"
    return None


def _of_slice(each: Slice) -> str | None:
    if not 0 <= each.errors <= each.requests:
        return f"errors must lie in [0, requests], got {each.errors} of {each.requests}"
    if not 0 <= each.agreed <= each.compared:
        return f"agreed must lie in [0, compared], got {each.agreed} of {each.compared}"
    return None


def _of_pairs(each: Paired) -> str | None:
    least = min(each.same, each.judged, each.missed, each.only_baseline, each.only_candidate)
    most = max(each.same + each.judged, each.judged + each.missed)
    if least < 0 or most > each.rows or each.only_baseline + each.only_candidate > each.judged:
        return f"pairs must be parts of their rows, got {each}"
    return None


def _has_negative(counts: Mapping[str, int] | Mapping[int, int]) -> bool:
    values: Iterable[int] = counts.values()
    return min(values, default=0) < 0
