"""Watches of a model itself: drift, data quality, fidelity, accuracy. Each says what `ServiceDrift` has found.

Their tests decide when something is sure, whenever they are looked at; so one verdict is enough, either way.
"""

from collections.abc import Callable, Sequence
from typing import Any

from telemetry.drift.distribution import Reading
from telemetry.drift.service import ServiceDrift
from telemetry.drift.version import PROBLEMS, WatchedVersion
from telemetry.fidelity.share import ShareReading, WatchedShare
from telemetry.series.frame import Frame
from telemetry.watching.decision import Decision, State
from telemetry.watching.watch import Verdict, Watch

AT_ONCE = Decision(num_needed=1, num_considered=1, num_calm=1, calm_s=0.0, refractory_s=0.0)


def model_watches(found: ServiceDrift) -> list[Watch]:
    """A watch for each thing that is watched of the service's model."""
    return [
        DriftWatch("drift", found, lambda name: name not in PROBLEMS),
        DriftWatch("data_quality", found, lambda name: name in PROBLEMS),
        ShareWatch("fidelity", found, lambda version: version.fidelity, _fidelity_sentence),
        ShareWatch("accuracy", found, lambda version: version.accuracy, _accuracy_sentence),
    ]


class _OfModel:
    """What is known is `ServiceDrift`'s, which is kept by itself; its tests know what they may learn."""

    def settle(self, state: State, now_s: float) -> None:
        """Nothing is learnt here."""

    def document(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, document: dict[str, Any]) -> None:
        """Nothing."""


class DriftWatch(_OfModel):
    """Whether any of the distributions that `of` picks has drifted."""

    decision = AT_ONCE

    def __init__(self, signal: str, found: ServiceDrift, of: Callable[[str], bool]) -> None:
        self.signal = signal
        self._found = found
        self._of = of
        self._seen = (0, 0)

    def see(self, frame: Frame) -> Verdict | None:
        """What the latest version's distributions say; none while no new rows came."""
        self._found.see(frame)
        version = self._found.latest
        watched = [each for each in version.drift if self._of(each.name)] if version else []
        seen = id(version), sum(each.rows for each in watched)
        if version is None or not watched or seen == self._seen:
            return None
        self._seen = seen
        drifted = [each for each in watched if each.is_drifted] or [max(watched, key=lambda each: each.evidence)]
        readings = [version.drift.reading(each) for each in sorted(drifted, key=lambda each: -each.evidence)]
        worst = readings[0]
        return Verdict(
            unusual=worst.is_drifted,
            calm=not worst.is_drifted,
            score=max(0.0, worst.evidence / worst.needed),
            value=worst.psi,
            expected=(0.0, worst.psi_expected),
            sentence=_drift_sentence(readings),
        )

    def relearn(self) -> None:
        """What comes now is as it should be."""
        if version := self._found.latest:
            for reading in version.drift.drifted():
                if self._of(reading.name):
                    version.drift[reading.name].accept()


class ShareWatch(_OfModel):
    """Whether a share of good rows has fallen."""

    decision = AT_ONCE

    def __init__(
        self,
        signal: str,
        found: ServiceDrift,
        share: Callable[[WatchedVersion], WatchedShare | None],
        sentence: Callable[[ShareReading, WatchedVersion], str],
    ) -> None:
        self.signal = signal
        self._found = found
        self._share = share
        self._sentence = sentence
        self._seen = (0, 0)

    def see(self, frame: Frame) -> Verdict | None:
        """What the latest version's share says; none while no new rows came."""
        self._found.see(frame)
        version = self._found.latest
        share = self._share(version) if version else None
        if version is None or share is None:
            return None
        reading = share.reading()
        seen = id(share), reading.rows
        if not reading.rows or seen == self._seen:
            return None
        self._seen = seen
        return Verdict(
            unusual=reading.has_fallen,
            calm=not reading.has_fallen,
            score=max(0.0, reading.evidence / reading.needed),
            value=reading.value,
            expected=(reading.expected_low, reading.expected_high),
            sentence=self._sentence(reading, version),
        )

    def relearn(self) -> None:
        """What comes now is as it should be."""
        version = self._found.latest
        if version is not None and (share := self._share(version)) is not None:
            share.accept()


def _drift_sentence(readings: Sequence[Reading]) -> str:
    worst = readings[0]
    more = f", and {len(readings) - 1} more" if len(readings) > 1 else ""
    since = f"the last {worst.drifted_rows:,} sampled rows" if worst.is_drifted else "sampled rows"
    what = f"{worst.name.replace('_', ' ')} rows are more" if worst.name in PROBLEMS else f"{worst.name} has drifted"
    return f"{what} in {since}: PSI {worst.psi:.2f}, by chance at most {worst.psi_expected:.2f}{more}"


def _fidelity_sentence(reading: ShareReading, _: WatchedVersion) -> str:
    return (
        f"agrees with its teacher on {reading.value:.1%} of shadowed rows ({reading.low:.1%}-{reading.high:.1%}), "
        f"expected {reading.expected:.1%}"
    )


def _accuracy_sentence(reading: ShareReading, version: WatchedVersion) -> str:
    worst = next((segment for segment in version.segments.worst() if segment.is_worse), None)
    where = f"; worst where {worst.name} is {worst.value}: {worst.accuracy:.1%} of {worst.rows}" if worst else ""
    return (
        f"accuracy is {reading.value:.1%} of labelled rows ({reading.low:.1%}-{reading.high:.1%}), "
        f"expected {reading.expected:.1%}{where}"
    )
