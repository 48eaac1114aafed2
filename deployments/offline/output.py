"""The output folder: what was planned, a file for each chunk, and a note for each that is whole.

    _plan.json                what is scored, by what, in which chunks
    part-00000.parquet        the rows of chunk 0
    _done/00000.json          chunk 0 is whole: its rows, its bad rows, its size

On this machine a file is written under another name and renamed; to a URL it goes whole. The note follows the file:
whoever dies in between leaves a file that nobody counts, and the next run writes it again.
"""

import fcntl
import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deployments.errors import ScoringError
from deployments.offline.storage import is_local, located, unreadable

PLAN, LOCK, DONE = "_plan.json", "_lock", "_done"
_UNFINISHED = ".trimtab-"


@dataclass(frozen=True, kw_only=True)
class Done:
    """A chunk that is whole."""

    number: int
    num_rows: int
    num_bad: int
    examples: tuple[str, ...]
    """Of bad rows: where, and why."""
    size_bytes: int
    began_s: float = 0.0
    """When its scoring began, in seconds since the epoch."""


class Output:
    """The folder at a path or URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._root = located(url)
        self._is_local = is_local(self._files)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no other run on this machine write there meanwhile; what a killed one has left half written goes.

        Raises:
            ScoringError: another run writes there, or it is not a folder that a run has begun.
        """
        if not self._is_local:
            self._check_ours()
            yield
            return
        root = Path(self._root)
        self._check_ours()
        try:
            root.mkdir(parents=True, exist_ok=True)
            lock = (root / LOCK).open("w")
        except OSError as error:
            raise ScoringError(f"--output must be a folder that can be written, got {self.url}: {error}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ScoringError(f"{self.url} is being written by another run: wait for it, or end it") from None
            for left in [*root.glob(f"{_UNFINISHED}*"), *(root / DONE).glob(f"{_UNFINISHED}*")]:
                left.unlink()
            yield

    def plan(self) -> dict[str, Any] | None:
        """What an earlier run has planned, if one has.

        Raises:
            ScoringError: it cannot be read.
        """
        path = f"{self._root}/{PLAN}"
        with unreadable(path):
            return json.loads(self._files.cat_file(path)) if self._files.exists(path) else None

    def begin(self, plan: dict[str, Any]) -> None:
        """Keep what is planned."""
        self._write(PLAN, json.dumps(plan).encode())

    def done(self) -> dict[int, Done]:
        """The chunks that are whole."""
        folder = f"{self._root}/{DONE}"
        with unreadable(folder):
            sizes = self._sizes(self._root)
            notes = [f"{folder}/{name}" for name in self._sizes(folder) if not name.startswith(".")]
            texts = self._files.cat(notes).values() if notes else ()
            found = [Done(**(each | {"examples": tuple(each["examples"])})) for each in map(json.loads, texts)]
        return {each.number: each for each in found if sizes.get(part_name(each.number)) == each.size_bytes}

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A file of this machine to write a chunk to; `finish` puts it where it belongs."""
        folder = self._root if self._is_local else tempfile.gettempdir()
        path = Path(folder) / f"{_UNFINISHED}{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def finish(self, written: Path, done: Done) -> None:
        """The chunk is whole: its file gets its name, and is noted."""
        name = part_name(done.number)
        if self._is_local:
            with written.open("rb") as file:
                os.fsync(file.fileno())
            written.replace(Path(self._root) / name)
        else:
            self._files.put_file(str(written), f"{self._root}/{name}")
        self._write(f"{DONE}/{done.number:05}.json", json.dumps(asdict(done)).encode())

    def _write(self, name: str, content: bytes) -> None:
        if not self._is_local:
            self._files.makedirs(f"{self._root}/{DONE}", exist_ok=True)
            self._files.pipe_file(f"{self._root}/{name}", content)
            return
        target = Path(self._root) / name
        target.parent.mkdir(exist_ok=True)
        staged = target.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(target)

    def _check_ours(self) -> None:
        with unreadable(self.url):
            names = [name for name in self._sizes(self._root) if name != LOCK and not name.startswith(_UNFINISHED)]
            is_file = self._files.isfile(self._root)
        if is_file or (names and PLAN not in names):
            raise ScoringError(
                f"--output must be a new or empty folder, or one that the same command has begun, got {self.url}"
                + (f" with {', '.join(sorted(names)[:3])}" if names else "")
            )

    def _sizes(self, folder: str) -> dict[str, int]:
        self._files.invalidate_cache()
        if not self._files.isdir(folder):
            return {}
        listed = self._files.ls(folder, detail=True)
        return {entry["name"].rstrip("/").rpartition("/")[2]: entry.get("size") or 0 for entry in listed}


def part_name(number: int) -> str:
    """The file of a chunk."""
    return f"part-{number:05}.parquet"
