"""Names for processes that do not say who they are.

A connection tells most of them apart, but it may break, and a proxy's carries many. What a process keeps is when its
totals began: two processes never began in the same nanosecond
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#single-writer).
"""

from collections.abc import Sequence
from itertools import chain, count

from telemetry.receivers.origin import Peer
from telemetry.series.stream import Key


class Senders:
    """Recognises a process by the start times of its totals, else takes it for a new one on its connection."""

    def __init__(self) -> None:
        self._starts: dict[Key, int] = {}
        self._instances: dict[tuple[Key, int], str] = {}
        self._names: dict[tuple[str, Peer], list[str]] = {}

    def name(self, service: str, peer: Peer, totals: Sequence[tuple[Key, int]]) -> str:
        """The instance that sends `totals`: of each cumulative series the key, without instance, and the start time."""
        for total in totals:
            if known := self._instances.get(total):
                return known
        names = self._names.setdefault((service, peer), [])
        for name in names:
            if all(self._starts.get(key._replace(instance=name), start_ns) == start_ns for key, start_ns in totals):
                return name
        numbered = (f"{peer}#{number}" for number in count(2))
        name = next(name for name in chain([str(peer)], numbered) if name not in names)
        names.append(name)
        return name

    def learn(self, key: Key, start_ns: int) -> None:
        """Remember since when a series of a process named here counts."""
        nameless = key._replace(instance="")
        before_ns = self._starts.get(key)
        if before_ns != start_ns:
            self._instances.pop((nameless, before_ns or 0), None)
            self._starts[key] = start_ns
            self._instances[nameless, start_ns] = key.instance

    def expire(self, alive: set[tuple[str, str]]) -> None:
        """Forget all processes but those of `alive`, (service, instance)."""
        self._starts = {key: start for key, start in self._starts.items() if (key.service, key.instance) in alive}
        self._instances = {total: name for total, name in self._instances.items() if (total[0].service, name) in alive}
        kept = {sender: [name for name in names if (sender[0], name) in alive] for sender, names in self._names.items()}
        self._names = {sender: names for sender, names in kept.items() if names}
