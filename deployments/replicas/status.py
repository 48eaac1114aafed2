"""What the repository index says of versions: of one replica, and of all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class VersionStatus:
    """What the repository index says of a version, in Triton's words."""

    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = ""
    """Why it is not ready, or what is wrong with its source."""


def in_all(replicas: Sequence[list[VersionStatus]]) -> list[VersionStatus]:
    """One status for each version that a replica knows: ready where all hold it, else why one does not."""
    told: dict[str, list[VersionStatus]] = {}
    for status in (status for replica in replicas for status in replica):
        told.setdefault(status.version, []).append(status)
    return [_of_all(told[version], len(replicas)) for version in sorted(told, key=int)]


def _of_all(told: list[VersionStatus], num_replicas: int) -> VersionStatus:
    ready = [status for status in told if status.state == "READY"]
    if len(ready) == num_replicas:
        return max(ready, key=lambda status: status.reason)
    reason = next((status.reason for status in told if status.state != "READY"), "it is not known to all")
    if ready:
        reason = f"{len(ready)} of {num_replicas} replicas hold it, another does not: {reason}"
    return VersionStatus(version=told[0].version, state="UNAVAILABLE", reason=reason)
