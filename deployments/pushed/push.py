"""A version pushed into the cluster, and withdrawn from it.

Acknowledged means: this node and one other have it whole, verified and on their disks, and it is announced. From then
on this node may go.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from deployments.pushed.announcement import Announcement
from deployments.pushed.catalogue import Catalogue
from deployments.pushed.fetch import PeerError
from deployments.pushed.node import OtherNodes
from optimization.artifact.store import ArtifactError


class Stores(OtherNodes, Protocol):
    """The stores of all nodes; the publisher's is `here`."""

    here: str

    def take(self, path: Path, mb_per_s: float) -> Announcement:
        """Let this node's store copy a directory."""

    def received(self, node: str, name: str) -> dict[str, int]:
        """The model's versions that are whole there.

        Raises:
            PeerError: it does not answer, or has no store.
        """

    def release(self, node: str, key: str) -> None:
        """Let the node let go of a version.

        Raises:
            PeerError: it does not answer.
        """


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What was acknowledged."""

    name: str
    version: str
    size_bytes: int
    nodes: tuple[str, ...]
    """That had it whole by then, this one first."""


def push(path: Path, stores: Stores, catalogue: Catalogue, mb_per_s: float) -> Pushed:
    """Push the version in the directory `path`; nodes that have a version of the model get it at once.

    Raises:
        ArtifactError: it is damaged, its number belongs to other bytes, or no other node of several can hold it.
    """
    try:
        announcement = stores.take(path, mb_per_s)
    except (PeerError, OSError) as error:
        raise ArtifactError(f"{path} must be readable by this node's store, and fit on its disk: {error}") from error
    try:
        second = _second_copy(stores, announcement)
        catalogue.announce(announcement)
    except ArtifactError:
        announced = catalogue.find(announcement.name, announcement.version)
        if announced is None or announced.key != announcement.key:  # it may have been pushed before
            _release(stores, announcement.key)
        raise
    return Pushed(
        name=announcement.name,
        version=announcement.version,
        size_bytes=announcement.size_bytes,
        nodes=(stores.here, *second),
    )


def withdraw(name: str, version: str, stores: Stores, catalogue: Catalogue) -> None:
    """Let replicas go back to the version before, and every node's store let go of this one.

    Raises:
        ArtifactError: it is not announced.
    """
    _release(stores, catalogue.withdraw(name, version).key)


def _release(stores: Stores, key: str) -> None:
    for node in {stores.here, *stores.holders(key)}:
        with suppress(PeerError):
            stores.release(node, key)


def _second_copy(stores: Stores, announcement: Announcement) -> Sequence[str]:
    """The first other node that has it; none where there is no other node. More may still be getting it."""
    others = stores.others()
    wanting = [node for node in others if _has_version(stores, node, announcement.name)] or others[:1]
    done: SimpleQueue[tuple[str, Exception | None]] = SimpleQueue()

    def ask(node: str) -> None:
        try:
            stores.fetch(node, announcement)
        except (PeerError, ArtifactError, OSError) as error:
            done.put((node, error))
        else:
            done.put((node, None))

    problems = []
    for nodes in _first_then_each(wanting, others):
        for node in nodes:
            threading.Thread(target=ask, args=(node,), daemon=True).start()  # the nodes go on when this process ends
        for _ in nodes:
            node, error = done.get()
            if error is None:
                return [node]
            problems.append(f"node {node}: {error}")
    if problems:
        raise ArtifactError(f"a second node must hold the version before it is announced: {'; '.join(problems)}")
    return []


def _first_then_each(wanting: Sequence[str], others: Sequence[str]) -> Iterator[Sequence[str]]:
    yield wanting
    yield from ([node] for node in others if node not in wanting)


def _has_version(stores: Stores, node: str, name: str) -> bool:
    try:
        return bool(stores.received(node, name))
    except PeerError:
        return False
