"""A version's files, put together of pieces from whichever nodes have them.

    a random piece that lacks -> of the nodes that have it, the one with the fewest pieces -> checked -> written

Nodes that fetch at the same time have different pieces, and take most of them from each other: of the copies for nine
nodes the publisher's link carries about two (Cohen 2003, "Incentives build robustness in BitTorrent").
"""

import hashlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from deployments.pushed.announcement import Announcement, Piece
from optimization.artifact import store
from optimization.artifact.store import MANIFEST

logger = logging.getLogger(__name__)

AT_ONCE = 2
"""Pieces under way."""
ASKED = 16
"""Most nodes that are looked at for pieces."""
LOOK_EVERY_S = 0.5
BUSY_S = 0.1
GONE_S = 10.0
"""How long a node that was busy, or that did not answer, is left alone."""
STALLED_S = 60.0
"""A fetch that has got no piece for so long is given up."""


class PeerError(Exception):
    """A node does not answer; it may be gone."""


class Peers(Protocol):
    """The other nodes' stores."""

    def holders(self, key: str) -> list[str]:
        """Other nodes that may have the version or some of it."""

    def pieces(self, node: str, key: str) -> frozenset[int]:
        """Numbers of the pieces that the node has.

        Raises:
            PeerError: it does not answer.
        """

    def read(self, node: str, key: str, piece: int) -> bytes | None:
        """That piece; none where the node has not got it or is busy.

        Raises:
            PeerError: it does not answer.
        """


class Fetch:
    """One version on its way into one folder."""

    def __init__(
        self, announcement: Announcement, folder: Path, peers: Peers, wait: Callable[[int], None] = lambda _: None
    ) -> None:
        """`wait` returns when so many bytes more may come."""
        self.have: set[int] = set()
        """Numbers of the pieces that are there."""
        self.received: dict[str, int] = {}
        """Bytes, by the node they came from."""
        self.announcement = announcement
        self._folder = folder
        self._peers = peers
        self._wait = wait
        self._under_way: set[int] = set()
        self._known: Mapping[str, frozenset[int]] = {}
        self._looked_s = float("-inf")
        self._alone_until_s: dict[str, float] = {}
        self._lock = threading.Lock()
        self._progress_s = time.monotonic()
        self._is_over = False

    def run(self) -> None:
        """Return when all files are there, each piece as it was announced.

        Raises:
            PeerError: no node gives what lacks.
            OSError: it cannot be written here.
        """
        (self._folder / MANIFEST).write_text(self.announcement.manifest, encoding="utf-8")
        for name, entry in self.announcement.files.items():
            target = store.inside(self._folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                if entry.size_bytes:  # a full disk is known before the first byte comes
                    os.posix_fallocate(file.fileno(), 0, entry.size_bytes)
        with ThreadPoolExecutor(AT_ONCE) as workers:
            for done in [workers.submit(self._work) for _ in range(AT_ONCE)]:
                done.result()

    def read(self, piece: int) -> bytes | None:
        """That piece, if it is there already."""
        return read(self._folder, self.announcement.pieces[piece]) if piece in self.have else None

    def _work(self) -> None:
        try:
            while not self._is_over and len(self.have) < len(self.announcement.pieces):
                self._look()
                chosen = self._choose()
                if chosen is None:
                    if time.monotonic() - self._progress_s > STALLED_S:
                        version = f"version {self.announcement.version} of {self.announcement.name!r}"
                        raise PeerError(f"no node that has {version} gives its pieces: push it again")
                    time.sleep(BUSY_S / 4)
                    continue
                try:
                    self._bring(*chosen)
                finally:
                    self._under_way.discard(chosen[0])
        finally:
            self._is_over = True

    def _look(self) -> None:
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._looked_s < LOOK_EVERY_S:
                return
            self._looked_s = now_s
        holders = [node for node in self._peers.holders(self.announcement.key) if not self._is_alone(node)]
        known: dict[str, frozenset[int]] = {}
        for node in random.sample(holders, min(len(holders), ASKED)):
            try:
                known[node] = self._peers.pieces(node, self.announcement.key)
            except PeerError:
                self._leave_alone(node, GONE_S)
        self._known = known

    def _choose(self) -> tuple[int, str] | None:
        """A piece that lacks and the node to ask for it; none if nobody can be asked for any."""
        with self._lock:
            known = {node: pieces for node, pieces in self._known.items() if not self._is_alone(node)}
            there = frozenset().union(*known.values()) - self.have - self._under_way
            if not there:
                return None
            piece = random.choice(tuple(there))
            node = min((each for each in known if piece in known[each]), key=lambda each: len(known[each]))
            self._under_way.add(piece)
            return piece, node

    def _bring(self, number: int, node: str) -> None:
        piece = self.announcement.pieces[number]
        try:
            content = self._peers.read(node, self.announcement.key, number)
        except PeerError as error:
            logger.warning("model %r: %s", self.announcement.name, error)
            self._leave_alone(node, GONE_S)
            return
        if content is None:
            self._leave_alone(node, BUSY_S)
            return
        with self._lock:
            self.received[node] = self.received.get(node, 0) + len(content)
        self._wait(len(content))
        if hashlib.sha256(content).hexdigest() != piece.sha256:
            what = f"{piece.file} of version {self.announcement.version}, bytes from {piece.offset}"
            logger.warning("model %r: node %s sent altered bytes: %s", self.announcement.name, node, what)
            self._leave_alone(node, float("inf"))
            return
        with store.inside(self._folder, piece.file).open("r+b") as file:
            file.seek(piece.offset)
            file.write(content)
        self.have.add(number)
        self._progress_s = time.monotonic()

    def _is_alone(self, node: str) -> bool:
        return time.monotonic() < self._alone_until_s.get(node, 0.0)

    def _leave_alone(self, node: str, seconds: float) -> None:
        self._alone_until_s[node] = time.monotonic() + seconds


def read(folder: Path, piece: Piece) -> bytes:
    """A piece of the version that lies in `folder`."""
    with store.inside(folder, piece.file).open("rb") as file:
        file.seek(piece.offset)
        return file.read(piece.size_bytes)
