"""All that is watched of one version of a model; how likely any of it is ever wrongly called a drift is bounded."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import ArrayLike

from telemetry.drift.distribution import Kind, Reading, WatchedDistribution

ALPHA = 0.01
"""Chance that anything of a version that is asked what it was made for is called drifted, however long it is served."""


class ModelDrift:
    """Watched distributions by name; each may spend its part of `alpha`."""

    def __init__(self, *, alpha: float = ALPHA) -> None:
        self._alpha = alpha
        self._watched: dict[str, WatchedDistribution] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._watched

    def __iter__(self) -> Iterator[WatchedDistribution]:
        return iter(self._watched.values())

    def __getitem__(self, name: str) -> WatchedDistribution:
        return self._watched[name]

    def watch(self, name: str, reference: ArrayLike, kind: Kind = "levels", **options: int) -> None:
        """Watch a thing whose reference has so many rows in each bin, [bins].

        Raises:
            ValueError: it has no rows, or fewer than two bins.
        """
        self._watched[name] = WatchedDistribution(name, reference, kind, **options)

    def take(self, counts: Mapping[str, ArrayLike]) -> None:
        """Count rows of some of the things, each [bins]."""
        for name, rows in counts.items():
            self._watched[name].take(rows, self._needed)

    def readings(self) -> list[Reading]:
        """What is known of each thing, the most suspicious first."""
        found = [self.reading(each) for each in self]
        return sorted(found, key=lambda reading: (not reading.is_drifted, -reading.evidence))

    def reading(self, watched: WatchedDistribution) -> Reading:
        """What is known of one thing."""
        return watched.reading(self._needed)

    def drifted(self) -> list[Reading]:
        """The things that have drifted, the surest first."""
        return [reading for reading in self.readings() if reading.is_drifted]

    def state(self) -> dict[str, Any]:
        """What it takes to go on after a restart, as JSON says it."""
        return {
            name: {"reference": each.reference.tolist(), "kind": each.kind, "seen": each.state()}
            for name, each in self._watched.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, with what it watched."""
        for name, each in state.items():
            self.watch(name, each["reference"], each["kind"])
            self._watched[name].restore(each["seen"])

    @property
    def _needed(self) -> float:
        """Nats that make a drift: each thing has an equal part of `alpha`."""
        return math.log(max(1, len(self._watched)) / self._alpha)
