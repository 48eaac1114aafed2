"""Which versions are pushed, and which nodes have them: keys and values that outlive every process but the head's.

trimtab:pushed:<name>:<version>      the announcement; written once, never over another
trimtab:withdrawn:<name>:<version>   the digest of a version that was withdrawn, so that its number stays its own
trimtab:holder:<key>:<node>          a node that has the version, or is fetching it
"""

from typing import Protocol

from deployments.pushed.announcement import Announcement, from_json
from deployments.replicas import agreement
from optimization.artifact.store import ArtifactError

_PUSHED, _WITHDRAWN, _HOLDER = "trimtab:pushed:", "trimtab:withdrawn:", "trimtab:holder:"


class Store(agreement.Store, Protocol):
    """Keys and values, of which some are written once."""

    def put_new(self, key: str, value: bytes) -> bool:
        """Write it unless there is one, at once for all; whether it was written."""

    def keys(self, prefix: str) -> list[str]:
        """All that begin with `prefix`."""


class Catalogue:
    """What the cluster says of pushed versions. Calls may block for a moment."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def versions(self, name: str) -> list[str]:
        """The announced versions of the model, oldest first."""
        prefix = f"{_PUSHED}{name}:"
        return sorted((key.removeprefix(prefix) for key in self._store.keys(prefix)), key=int)

    def find(self, name: str, version: str) -> Announcement | None:
        """What was announced, if it was."""
        kept = self._store.get(f"{_PUSHED}{name}:{version}")
        return from_json(kept) if kept else None

    def all(self) -> list[Announcement]:
        """Everything that is announced."""
        return [from_json(kept) for kept in self._store.below(_PUSHED).values()]

    def check_free(self, announcement: Announcement) -> None:
        """Find out whether the version's number is its own.

        Raises:
            ArtifactError: another artifact was pushed by that number.
        """
        name, version = announcement.name, announcement.version
        announced = self.find(name, version)
        withdrawn = self._store.get(f"{_WITHDRAWN}{name}:{version}")
        before = announced.digest if announced else withdrawn.decode() if withdrawn else announcement.digest
        if before != announcement.digest:
            raise ArtifactError(
                f"version {version} of {name!r} must be new or the same as before (manifest {before[:12]}…), got other "
                f"bytes (manifest {announcement.digest[:12]}…): publish them as the next version"
            )

    def announce(self, announcement: Announcement) -> None:
        """Let every replica see the version.

        Raises:
            ArtifactError: another artifact was pushed by that number, perhaps at the same time.
        """
        self.check_free(announcement)
        name, version = announcement.name, announcement.version
        is_ours = self._store.put_new(f"{_PUSHED}{name}:{version}", announcement.to_json())
        try:
            self.check_free(announcement)
        except ArtifactError:
            if is_ours:  # it was withdrawn with other bytes meanwhile
                self._store.delete(f"{_PUSHED}{name}:{version}")
            raise

    def withdraw(self, name: str, version: str) -> Announcement:
        """Let no replica see it any more; its number stays taken for other bytes.

        Raises:
            ArtifactError: it is not announced.
        """
        found = self.find(name, version)
        if found is None:
            known = ", ".join(self.versions(name)) or "none"
            raise ArtifactError(f"artifact {name!r} has no pushed version {version!r}, only {known}")
        self._store.put(f"{_WITHDRAWN}{name}:{version}", found.digest.encode())
        self._store.delete(f"{_PUSHED}{name}:{version}")
        return found

    def add_holder(self, key: str, node: str) -> None:
        """The node has the version, or some of it."""
        self._store.put(f"{_HOLDER}{key}:{node}", b"1")

    def remove_holder(self, key: str, node: str) -> None:
        """It has not."""
        self._store.delete(f"{_HOLDER}{key}:{node}")

    def holders(self, key: str) -> list[str]:
        """Nodes that have the version or some of it, as far as is known; some may be gone."""
        prefix = f"{_HOLDER}{key}:"
        return sorted(found.removeprefix(prefix) for found in self._store.keys(prefix))
