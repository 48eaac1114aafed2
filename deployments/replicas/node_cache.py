"""What the replicas of one node have fetched: each version once, whole and verified, as long as there is room.

    hold -> marked as in use -> there and sound? else, under a lock, fetched beside it and renamed -> LocalCopy
                                                       |
                                    room is made: what no replica uses goes, the oldest first

Locks are the kernel's (flock), so that those of a process that was killed are free at once.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from optimization.artifact.store import ArtifactError, load

_FETCHING = ".fetching-"
_USED = ".used"
_FETCH = ".fetch"


@dataclass(frozen=True, kw_only=True)
class LocalCopy:
    """A version's directory on this node; one of the cache stays there until it is released."""

    path: Path
    lock: IO[str] | None = None

    def release(self) -> None:
        """Let the cache remove it when it needs the room."""
        if self.lock:
            self.lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def cache_folder() -> Path:
    """Where a node's copies lie: `trimtab` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab" / "artifacts"


class NodeCache:
    """A directory that all replicas of a node share; `limit_bytes` bound what it holds beside what is in use."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    def hold(self, key: str, size_bytes: int, fetch: Callable[[Path], None]) -> LocalCopy:
        """The artifact `key`, of about `size_bytes`; where it lacks or is damaged, `fetch` writes it into a directory.

        Of those that ask at once, one fetches and the others wait. What `fetch` raises is raised; nothing of it stays.

        Raises:
            ArtifactError: what was fetched does not match its manifest.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        entry = self._folder / key
        copy = self._used(key)
        try:
            was_there = entry.is_dir()
            if not was_there or not _is_sound(entry):
                with self._locked(key):
                    # Another may have fetched it meanwhile, and looked whether it is sound.
                    if not entry.is_dir() or (was_there and not _is_sound(entry)):
                        self.make_room(size_bytes)
                        self._fetch(entry, fetch)
            os.utime(entry)
        except BaseException:
            copy.release()
            raise
        return copy

    def held(self, prefix: str) -> LocalCopy | None:
        """The newest sound artifact whose key begins with `prefix`, without fetching; none if there is none."""
        for entry in sorted(self._entries(), key=_age, reverse=True):
            if entry.name.startswith(prefix):
                copy = self._used(entry.name)
                if _is_sound(entry):
                    return copy
                copy.release()
        return None

    def make_room(self, size_bytes: int) -> None:
        """Remove what no replica uses, the oldest first, until `size_bytes` more fit."""
        sizes = {entry: _size_bytes(entry) for entry in sorted(self._entries(), key=_age)}
        total = sum(sizes.values()) + size_bytes
        for entry, size in sizes.items():
            if total <= self._limit_bytes:
                return
            half = entry.name.startswith(_FETCHING)  # what a killed process has left, or is fetched just now
            name = f"{entry.name.removeprefix(_FETCHING)}{_FETCH if half else _USED}"
            with (self._folder / name).open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(entry, ignore_errors=True)
                total -= size

    def _fetch(self, entry: Path, fetch: Callable[[Path], None]) -> None:
        staging = self._folder / f"{_FETCHING}{entry.name}"
        shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed meanwhile
        shutil.rmtree(entry, ignore_errors=True)
        try:
            staging.mkdir()
            fetch(staging)
            load(staging)
            for file in staging.rglob("*"):
                if file.is_file():
                    with file.open("rb") as opened:
                        os.fsync(opened.fileno())
            staging.rename(entry)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _entries(self) -> list[Path]:
        """What is there, and what killed processes have left half fetched."""
        return [entry for entry in self._folder.iterdir() if entry.is_dir()] if self._folder.is_dir() else []

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        with (self._folder / f"{key}{_FETCH}").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _used(self, key: str) -> LocalCopy:
        lock = (self._folder / f"{key}{_USED}").open("a")
        fcntl.flock(lock, fcntl.LOCK_SH)
        return LocalCopy(path=self._folder / key, lock=lock)


def _is_sound(entry: Path) -> bool:
    if not entry.is_dir():
        return False
    try:
        load(entry)
    except ArtifactError:
        return False
    return True


def _size_bytes(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())


def _age(entry: Path) -> float:
    return entry.stat().st_mtime
