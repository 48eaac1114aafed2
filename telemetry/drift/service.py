"""A service's models as they are watched: its versions, the latest few of them."""

from typing import Any

from telemetry import conventions as names
from telemetry.drift.observed import observed
from telemetry.drift.version import WatchedVersion
from telemetry.series.distribution import Buckets
from telemetry.series.frame import Frame
from telemetry.series.observation import Observation

MOST_VERSIONS = 4


class ServiceDrift:
    """Frames in, one `WatchedVersion` for each version."""

    def __init__(self) -> None:
        self.versions: dict[str, WatchedVersion] = {}
        """By number, the one that counted rows last being the last."""
        self.num_unread = 0
        """Series that said nothing that can be read."""
        self._last: Frame | None = None

    def see(self, frame: Frame) -> None:
        """Count what a frame observed, once, whoever shows it."""
        if frame is not self._last:
            self._last = frame
            for each in frame.observations:
                self.take(each)

    def take(self, each: Observation) -> None:
        """Count what one series counted."""
        if isinstance(each.amount, Buckets):
            self._take_rows(each, each.amount)
        elif each.metric == names.DATA_PROBLEMS.name:
            said, amount = dict(each.attributes), each.amount
            version = self._version(str(said.get(names.MODEL_VERSION, each.version)))
            version.take_problem(str(said.get(names.WATCHED)), str(said.get(names.DATA_PROBLEM)), int(amount))

    @property
    def latest(self) -> WatchedVersion | None:
        """The version that counted rows last."""
        return next(reversed(self.versions.values()), None)

    def state(self) -> dict[str, Any]:
        """What it takes to go on after a restart, as JSON says it."""
        return {"versions": [[number, version.state()] for number, version in self.versions.items()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.versions = {number: WatchedVersion.restored(each) for number, each in state["versions"]}

    def view(self) -> dict[str, Any]:
        """What the page and reports show."""
        return {
            "versions": [{"version": number, **version.view()} for number, version in reversed(self.versions.items())]
        }

    def _take_rows(self, each: Observation, amount: Buckets) -> None:
        seen = observed(each.attributes, each.version, amount)
        if seen is None:
            self.num_unread += 1
            return
        version = self._version(seen.version, moves=bool(seen.counts.any()))
        match each.metric:
            case names.DRIFT_ROWS.name:
                version.take_rows(seen)
            case names.FIDELITY_ROWS.name:
                version.take_fidelity(seen)
            case names.ACCURACY_ROWS.name:
                version.take_accuracy(seen)

    def _version(self, number: str, *, moves: bool = True) -> WatchedVersion:
        version = self.versions.get(number)
        if version is None:
            version = self.versions[number] = WatchedVersion()
            while len(self.versions) > MOST_VERSIONS:
                del self.versions[next(iter(self.versions))]
        elif moves and next(reversed(self.versions)) != number:
            self.versions[number] = self.versions.pop(number)
        return version
