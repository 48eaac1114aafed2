"""What one node keeps of pushed versions: it takes them whole, gives pieces to other nodes, and sees to a second copy.

Versions lie in a `NodeCache` that forgets all that is not held: its locks, verification and half-fetched leftovers are
those of every other source.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deployments.pushed.announcement import Announcement, described
from deployments.pushed.catalogue import Catalogue
from deployments.pushed.fetch import Fetch, PeerError, Peers, read
from deployments.pushed.rate import Rate
from deployments.replicas.node_cache import LocalCopy, NodeCache
from optimization.artifact import store
from optimization.artifact.store import MANIFEST, ArtifactError

logger = logging.getLogger(__name__)

BUSY_S = 1.0
"""A node whose link is taken for longer gives no piece: it is asked again, or another is."""
PUSHING_S = 3600.0
"""What has not been announced for so long is of a push that failed."""


class OtherNodes(Peers, Protocol):
    """The other nodes, of which some have a store already."""

    def others(self) -> list[str]:
        """All that are alive."""

    def fetch(self, node: str, announcement: Announcement) -> Path:
        """The version's directory on that node, once it is whole there.

        Raises:
            PeerError, ArtifactError, OSError: it cannot get it.
        """


@dataclass(kw_only=True)
class _Held:
    announcement: Announcement
    copy: LocalCopy
    since_s: float = field(default_factory=time.monotonic)

    def read(self, piece: int) -> bytes:
        return read(self.copy.path, self.announcement.pieces[piece])


class NodeStore:
    """The store of one node; its methods may be called from several threads at once."""

    def __init__(
        self,
        node: str,
        folder: Path,
        catalogue: Catalogue,
        nodes: OtherNodes,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Hold again what is announced and lies in `folder`."""
        self._node = node
        self._cache = NodeCache(folder, limit_bytes=0)
        self._catalogue = catalogue
        self._nodes = nodes
        self._sleep = sleep
        self._sending, self._receiving = Rate(), Rate()
        self._held: dict[str, _Held] = {}
        self._fetching: dict[str, Fetch] = {}
        self._received: dict[str, int] = {}
        self._lock = threading.Lock()
        for announcement in catalogue.all():
            if copy := self._cache.held(announcement.key):
                self._hold(announcement, copy)

    def take(self, path: Path, mb_per_s: float) -> Announcement:
        """Copy the version that lies in the directory `path` of this node.

        Raises:
            ArtifactError: it is damaged.
            OSError: it cannot be written.
        """
        announcement = described(path, mb_per_s)
        self._catalogue.check_free(announcement)

        def copy(into: Path) -> None:
            for name in (MANIFEST, *announcement.files):
                target = store.inside(into, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path / name, target)

        self._hold(announcement, self._cache.hold(announcement.key, announcement.size_bytes, copy))
        return announcement

    def fetch(self, announcement: Announcement) -> Path:
        """The version's directory, once it is whole and verified; of those that ask at once, one brings it.

        Raises:
            PeerError: no node gives it.
            ArtifactError: what came does not match its manifest.
            OSError: it cannot be written.
        """
        key = announcement.key
        with self._lock:
            if key in self._held:
                return self._held[key].copy.path
        fetching: Fetch | None = None

        def bring(into: Path) -> None:
            nonlocal fetching
            fetching = Fetch(announcement, into, self._nodes, lambda size: self._receive(size, announcement))
            self._fetching[key] = fetching  # until it is held: what is there of it, others may take at once
            self._catalogue.add_holder(key, self._node)
            fetching.run()
            self._received[key] = sum(fetching.received.values())

        try:
            return self._hold(announcement, self._cache.hold(key, announcement.size_bytes, bring))
        except BaseException:
            self._catalogue.remove_holder(key, self._node)
            raise
        finally:
            if fetching:
                del self._fetching[key]

    def pieces(self, key: str) -> frozenset[int]:
        """Numbers of the pieces that are here."""
        held, fetching = self._held.get(key), self._fetching.get(key)
        if held:
            return frozenset(range(len(held.announcement.pieces)))
        return frozenset(fetching.have.copy()) if fetching else frozenset()

    def read(self, key: str, piece: int) -> bytes | None:
        """That piece; none where it is not here, or the link is taken for a while."""
        found = self._held.get(key) or self._fetching.get(key)
        if found is None:
            return None
        num_bytes, mb_per_s = found.announcement.pieces[piece].size_bytes, found.announcement.mb_per_s
        wait_s = self._sending.book(num_bytes, mb_per_s, longest_s=BUSY_S)
        if wait_s is None:
            return None
        self._sleep(wait_s)
        try:
            return found.read(piece)
        except FileNotFoundError:  # it has become whole, or has been let go of, a moment ago
            return None

    def received(self, name: str) -> dict[str, int]:
        """The versions of a model that are here whole, and the bytes that came from other nodes for each."""
        held = list(self._held.values())
        ours = [each.announcement for each in held if each.announcement.name == name]
        return {each.version: self._received.get(each.key, 0) for each in ours}

    @property
    def num_bytes_received(self) -> int:
        """All that came from other nodes for versions that became whole here."""
        return sum(list(self._received.values()))

    def release(self, key: str) -> None:
        """Let go of a version, and give its bytes back to the disk."""
        with self._lock:
            held = self._held.pop(key, None)
        self._catalogue.remove_holder(key, self._node)
        if held:
            held.copy.release()
            self._cache.make_room(0)

    def tend(self) -> None:
        """Let go of what is announced no more; where this node alone has a version, see to it that another gets it."""
        announced = {announcement.key for announcement in self._catalogue.all()}
        for key, held in list(self._held.items()):
            self._catalogue.add_holder(key, self._node)  # somebody may have taken this node for dead
            if key not in announced:
                if time.monotonic() - held.since_s > PUSHING_S:
                    self.release(key)
            elif not any(self._is_whole(node, held.announcement) for node in self._nodes.holders(key)):
                self._copy_to_another(held.announcement)

    def _is_whole(self, node: str, announcement: Announcement) -> bool:
        try:
            return len(self._nodes.pieces(node, announcement.key)) == len(announcement.pieces)
        except PeerError:
            self._catalogue.remove_holder(announcement.key, node)  # it says so again if it lives
            return False

    def _copy_to_another(self, announcement: Announcement) -> None:
        for node in self._nodes.others():
            try:
                self._nodes.fetch(node, announcement)
                logger.info("model %r: version %s has a second copy again", announcement.name, announcement.version)
                return
            except (PeerError, ArtifactError, OSError) as error:
                logger.warning("model %r: node %s gets no copy: %s", announcement.name, node, error)

    def _receive(self, num_bytes: int, announcement: Announcement) -> None:
        self._sleep(self._receiving.book(num_bytes, announcement.mb_per_s) or 0.0)

    def _hold(self, announcement: Announcement, copy: LocalCopy) -> Path:
        with self._lock:
            if announcement.key in self._held:
                copy.release()
            else:
                self._held[announcement.key] = _Held(announcement=announcement, copy=copy)
        self._catalogue.add_holder(announcement.key, self._node)
        return copy.path
