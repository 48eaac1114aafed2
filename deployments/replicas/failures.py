"""Versions that could not be loaded: why, and when they are tried again.

What passes (a full disk, a source that does not answer, memory) passes sooner or later, so each failure of a version
doubles the pause before the next try. A change of its files ends the pause.
"""

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 300.0


@dataclass(frozen=True, kw_only=True)
class _Failure:
    reason: str
    files: object
    times: int
    again_s: float


class Failures:
    """The failures of one model's versions in one replica."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._of: dict[str, _Failure] = {}

    def __contains__(self, version: object) -> bool:
        return version in self._of

    def due(self, version: str, files: object) -> bool:
        """Whether the version may be tried, now that its files are `files`."""
        failure = self._of.get(version)
        return failure is None or failure.files != files or self._now_s() >= failure.again_s

    def add(self, version: str, reason: str, files: object) -> bool:
        """Remember a failure; whether it is another than the last time."""
        before = self._of.get(version)
        times = before.times + 1 if before and before.files == files else 1
        pause_s = min(FIRST_PAUSE_S * 2 ** (times - 1), LONGEST_PAUSE_S)
        pause_s *= random.uniform(0.8, 1.0)  # replicas that failed together do not come back together
        self._of[version] = _Failure(reason=reason, files=files, times=times, again_s=self._now_s() + pause_s)
        return before is None or before.reason != reason

    def forget(self, version: str) -> None:
        """It has been loaded."""
        self._of.pop(version, None)

    def keep(self, versions: Collection[str | None]) -> None:
        """Forget all but `versions`."""
        self._of = {version: failure for version, failure in self._of.items() if version in versions}

    def end_pauses(self) -> None:
        """Try all again at the next look."""
        self._of.clear()

    def reason(self, version: str) -> str | None:
        """Why it failed, if it did."""
        failure = self._of.get(version)
        return failure.reason if failure else None

    def status(self, version: str) -> str | None:
        """Why it failed and when it is tried again, for people."""
        failure = self._of.get(version)
        if failure is None:
            return None
        return f"{failure.reason}; tried again in {max(0.0, failure.again_s - self._now_s()):.0f} s"

    def all(self) -> dict[str, str]:
        """The reasons, by version."""
        return {version: failure.reason for version, failure in self._of.items()}
