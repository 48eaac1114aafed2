"""What changed and when: the probable causes of incidents, and the markers on the page's plots."""

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

MAX_CHANGES = 2000
"""Changes that are remembered; the oldest are forgotten first."""

Kind = Literal["version", "instances", "node", "load", "collector", "accepted", "rollout", "dependency"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that became different."""

    time_s: float
    service: str
    """Empty where it concerns all of them, as the collector's own start."""
    kind: Kind
    text: str
    """As a person says it: "version 2 instead of 1"."""


class Changes:
    """The latest changes of all services, in the order in which they came."""

    def __init__(self) -> None:
        self._changes: deque[Change] = deque(maxlen=MAX_CHANGES)

    def __iter__(self) -> Iterator[Change]:
        return iter(self._changes)

    def add(self, change: Change) -> None:
        """Remember `change`."""
        self._changes.append(change)

    def between(self, start_s: float, end_s: float, services: frozenset[str] | None = None) -> list[Change]:
        """Those of a time, of `services` (all where it is None) and of what concerns every service."""
        return [
            change
            for change in self._changes
            if start_s <= change.time_s <= end_s
            and (services is None or not change.service or change.service in services)
        ]

    def document(self) -> list[dict[str, Any]]:
        """What must survive a restart."""
        return [asdict(change) for change in self._changes]

    def restore(self, document: list[dict[str, Any]]) -> None:
        """Take up what `document` says."""
        self._changes.extend(Change(**change) for change in document)
