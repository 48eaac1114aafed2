"""What was seen of both versions of a rollout: counts per window, which add up over replicas, as JSON if need be.

An arm is one of the two versions, with the requests that the split sent to it. What an arm's requests met is counted
where it shows: the baseline's replicas count the candidate's failures that only they see (it was gone, or too slow),
the candidate's replicas all else; the sum holds each request once.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter

K = TypeVar("K", int, str)
S = TypeVar("S", "Slice", "Paired")

BINS_PER_DOUBLING = 8
"""Bins of durations from one to twice as long: each is 9 % wide (OpenTelemetry's exponential histogram of scale 3)."""

NUMBER = "number="
"""Begins the names of answers that are bins of numbers."""
LEAST_NUMBER = 1e-6
"""A smaller number counts as zero."""
NUMBER_BINS = 2000
"""Bins of numbers of either sign, each as wide as those of durations; the last takes all that are larger."""

MOST_KINDS = 64
"""Kinds of requests or of rows, and answers, that are told apart, the largest: clients name some themselves."""
MOST_ALIKE = 100
"""Windows of one length that are kept as they are."""
_WITH_NAN = ConfigDict(ser_json_inf_nan="constants")
"""A number that is none stays so: the analysis is to see it."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Requests of one kind, such as those that a given class was the answer to."""

    requests: int = 0
    errors: int = 0
    compared: int = 0
    agreed: int = 0

    def __add__(self, other: Self) -> "Slice":
        return Slice(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            compared=self.compared + other.compared,
            agreed=self.agreed + other.agreed,
        )


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one version did in one window."""

    __pydantic_config__ = _WITH_NAN

    asked: int = 0
    """Processes that were asked for their counts."""
    told: int = 0
    """Of them, those that gave them: with fewer the window is incomplete, and promotes nothing."""
    requests: int = 0
    """Sent to it by the split; in a shadow, copied to it."""
    errors: int = 0
    """Of `requests`: failures of the server (5xx, gone, too late), also those that the other arm then made good."""
    durations: Mapping[int, int] = field(default_factory=dict)
    """Answered requests by `duration_bin`, measured by its own replicas around the same code in both arms."""
    compared: int = 0
    """Rows of its answers that were compared with the teacher's answers to the same rows."""
    agreed: int = 0
    answers: Mapping[str, int] = field(default_factory=dict)
    """Sampled rows by what it answered: the class, or the bin of a number."""
    checked: int = 0
    """Answers that were looked at for numbers that are not finite."""
    non_finite: int = 0
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    """Resident memory of each of its processes at the window's end, by a name that a process started anew has not."""
    cpu_s: float = 0.0
    """Seconds of processor that its processes took in the window, all together."""
    slices: Mapping[str, Slice] = field(default_factory=dict)
    """The same counts by kind of request, such as `country=de`."""

    def __add__(self, other: Self) -> "Arm":
        return Arm(
            asked=self.asked + other.asked,
            told=self.told + other.told,
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            durations=_added(self.durations, other.durations),
            compared=self.compared + other.compared,
            agreed=self.agreed + other.agreed,
            answers=_added(self.answers, other.answers),
            checked=self.checked + other.checked,
            non_finite=self.non_finite + other.non_finite,
            memory_bytes={**self.memory_bytes, **other.memory_bytes},
            cpu_s=self.cpu_s + other.cpu_s,
            slices=_by_kind(self.slices, other.slices, lambda each: each.requests),
        )


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Rows that both versions answered, such as sampled copies in a shadow."""

    rows: int = 0
    same: int = 0
    """Answered alike."""
    judged: int = 0
    """Answered otherwise, and by the teacher as well: where both say the same, it need not be asked."""
    only_baseline: int = 0
    """Of `judged`: the baseline agreed with the teacher, the candidate did not."""
    only_candidate: int = 0
    missed: int = 0
    """Of `rows`, those of requests for which the teacher was too busy, whatever was answered, or that it failed."""

    @property
    def known(self) -> int:
        """Rows of which it is known whom the teacher agrees with."""
        return self.rows - self.missed

    @property
    def has_teacher(self) -> bool:
        """Whether there is one that was to judge."""
        return bool(self.judged or self.missed)

    def __add__(self, other: Self) -> "Paired":
        return Paired(
            rows=self.rows + other.rows,
            same=self.same + other.same,
            judged=self.judged + other.judged,
            only_baseline=self.only_baseline + other.only_baseline,
            only_candidate=self.only_candidate + other.only_candidate,
            missed=self.missed + other.missed,
        )


@dataclass(frozen=True, kw_only=True)
class Window:
    """Both arms in the same seconds."""

    __pydantic_config__ = _WITH_NAN

    start_s: float
    """Seconds since 1970; it ends where the next one may start."""
    end_s: float
    baseline: Arm = Arm()
    candidate: Arm = Arm()
    paired: Paired = Paired()
    paired_slices: Mapping[str, Paired] = field(default_factory=dict)
    """`paired` by kind of request, such as the class that the baseline answered."""


def duration_bin(seconds: float) -> int:
    """The bin of a duration: bin i holds those over `duration_of(i - 1)` up to `duration_of(i)`."""
    return math.ceil(math.log2(max(seconds, 1e-7)) * BINS_PER_DOUBLING)


def duration_of(index: int) -> float:
    """The longest duration of a bin, in seconds."""
    return float(2.0 ** (index / BINS_PER_DOUBLING))


def number_bins(numbers: NDArray[np.float64]) -> list[str]:
    """The name of each number's bin; what is none has no bin."""
    return [f"{NUMBER}{_signed_bin(each)}" for each in numbers[np.isfinite(numbers)].tolist()]


def bin_start(place: int) -> float:
    """The number next to zero of a bin of numbers."""
    if place == 0:
        return 0.0
    return math.copysign(duration_of(duration_bin(LEAST_NUMBER) + abs(place) - 1), place)


def _signed_bin(number: float) -> int:
    """Bins as of durations, of either sign; numbers next to zero are zero."""
    size = min(NUMBER_BINS, max(0, duration_bin(abs(number)) - duration_bin(LEAST_NUMBER)))
    return size if number > 0 else -size


def total(arms: Iterable[Arm]) -> Arm:
    """What the replicas of one version saw, as if they were one."""
    return sum(arms, Arm())


def together(one: Window, other: Window) -> Window:
    """Two windows, of other processes or of other seconds, as one."""
    return Window(
        start_s=min(one.start_s, other.start_s),
        end_s=max(one.end_s, other.end_s),
        baseline=one.baseline + other.baseline,
        candidate=one.candidate + other.candidate,
        paired=one.paired + other.paired,
        paired_slices=_by_kind(one.paired_slices, other.paired_slices, lambda each: each.rows),
    )


def coarsened(windows: Sequence[Window]) -> list[Window]:
    """The same evidence, in order of time, in fewer windows: of each length the latest `MOST_ALIKE`; older ones are put
    together two by two, so that a rollout of days takes no more than some hundreds.
    """
    kept = list(windows)
    at = len(kept)
    while at > MOST_ALIKE:
        length_s = kept[at - 1].end_s - kept[at - 1].start_s
        first = next(i for i in range(at + 1) if i == at or kept[i].end_s - kept[i].start_s < 1.5 * length_s)
        while at - first > MOST_ALIKE:
            kept[first : first + 2] = [together(kept[first], kept[first + 1])]
            first, at = first + 1, at - 1
        at = first
    return kept


def arm_json(arm: Arm) -> bytes:
    """An arm as JSON, which `arm_of` reads."""
    return _ARM.dump_json(arm, exclude_defaults=True)


def arm_of(text: bytes | str) -> Arm:
    """Raises: ValueError: the text is cut short, or is no arm."""
    return _ARM.validate_json(text)


def windows_json(windows: tuple[Window, ...]) -> bytes:
    """Windows as JSON, which `windows_of` reads."""
    return _WINDOWS.dump_json(windows, exclude_defaults=True)


def windows_of(text: bytes | str) -> tuple[Window, ...]:
    """Raises: ValueError: the text is cut short, or is no list of windows."""
    return _WINDOWS.validate_json(text)


def _added(one: Mapping[K, int], other: Mapping[K, int]) -> dict[K, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in one.keys() | other.keys()}


_ARM = TypeAdapter(Arm)
_WINDOWS = TypeAdapter(tuple[Window, ...])


def _by_kind(one: Mapping[str, S], other: Mapping[str, S], size: Callable[[S], int]) -> dict[str, S]:
    """The sums of both, of the largest kinds."""
    found = dict(one)
    for kind, each in other.items():
        found[kind] = found[kind] + each if kind in found else each
    if len(found) <= MOST_KINDS:
        return found
    return {kind: found[kind] for kind in sorted(found, key=lambda kind: (-size(found[kind]), kind))[:MOST_KINDS]}
