"""The journal: requests as they came, in files of bounded size, for readers that each go at a speed of their own.

    receivers -> append -> file | file | file (active)
                             ^ reader "storage"   ^ reader "backend-1"

A request is acknowledged once it is written here. What is written survives the process, however it dies, since the
kernel holds it; nothing is synchronised to the disk for each request, so that a power cut may take the last seconds.
"""

import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import zstandard

from telemetry.journal.errors import JournalError
from telemetry.journal.reader import PLACE_SUFFIX, Reader, kept
from telemetry.journal.record import LEVEL, Header, Place, Signal, encoded
from telemetry.journal.segment import SUFFIX, Segment

logger = logging.getLogger(__name__)

LOCK = "lock"


class Journal:
    """Appends requests and removes the oldest; may be called from any thread."""

    def __init__(self, folder: Path, *, segment_bytes: int = 16 * 2**20, max_bytes: int = 2**30) -> None:
        """Open the journal in `folder`, or begin one; a record that was cut short at its end is removed.

        Raises:
            JournalError: another process uses the folder, or it cannot be written to.
        """
        if max_bytes < 2 * segment_bytes:
            raise ValueError(f"max_bytes must be at least twice segment_bytes, got {max_bytes} and {segment_bytes}")
        self.folder = folder
        self.readers: dict[str, Reader] = {}
        self._segment_bytes, self._max_bytes = segment_bytes, max_bytes
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._writing = threading.Lock()
        self._is_torn = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder)
            self._segments = sorted(map(Segment, folder.glob(f"*{SUFFIX}")), key=lambda segment: segment.begin)
            if not self._segments:
                self._segments.append(Segment.beginning_at(folder, 0))
            self._file = self._opened_at_its_end()
            self._absent = {path.stem: kept(path) or 0 for path in folder.glob(f"*{PLACE_SUFFIX}")}
            """Readers of an earlier process that were not asked for yet."""
        except OSError as error:
            raise JournalError(f"{folder} must be a folder that can be written to, got: {error.strerror}") from error

    @property
    def end(self) -> Place:
        """Where the next record begins."""
        return self._segments[-1].end

    @property
    def begin(self) -> Place:
        """Where the oldest record that is left begins."""
        return self._segments[0].begin

    @property
    def num_bytes(self) -> int:
        """On disk."""
        return sum(segment.num_bytes for segment in self._segments)

    def append(self, signal: Signal, body: bytes, time_s: float, sender: str = "", gzipped: bytes = b"") -> Place:
        """Write one request and return where it ends; only then may it be acknowledged.

        `gzipped` is the body as it came, if it came so.

        Raises:
            JournalError: there is no room, or the disk fails: nothing was written, and the request must be refused.
        """
        with self._writing:
            parts = encoded(self._compressor, signal, body, time_s, sender, gzipped)
            try:
                if self._segments[-1].num_bytes >= self._segment_bytes:
                    self._begin_segment()
                segment = self._segments[-1]
                self._write(parts, segment)
            except OSError as error:
                raise JournalError(f"{self.folder} must have room for a request, got: {error.strerror}") from error
            return segment.end

    def reader(self, name: str, start: Literal["newest", "oldest"] = "newest") -> Reader:
        """The reader of this name, where it left off; a new one begins with the oldest record or with the next one.

        Raises:
            JournalError: the name cannot be a file's.
        """
        if name not in self.readers:
            self.readers[name] = Reader(self, name, self.end if start == "newest" else self.begin)
            self._absent.pop(name, None)
        return self.readers[name]

    def forget_absent(self) -> None:
        """Forget the places of readers that were there before and have not been asked for since; until then what they
        have not read is kept for them.
        """
        for name in self._absent:
            (self.folder / f"{name}{PLACE_SUFFIX}").unlink(missing_ok=True)
        self._absent.clear()
        self.release()

    def within(self, place: Place) -> Place:
        """The place nearest to `place` that is left."""
        return min(max(place, self.begin), self.end)

    def records(self, place: Place) -> Iterator[tuple[Place, Header, bytes]]:
        """(where it ends, header, content) of each record after `place`, as far as there were any at the first."""
        with self._writing:
            segments, end = list(self._segments), self.end
        for segment in segments:
            if segment.end > place:
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile, and counted as lost by its reader
                    yield from segment.records(max(place, segment.begin), min(segment.end, end))

    def release(self) -> None:
        """Remove files that every reader is done with."""
        with self._writing:
            self._remove_what_is_read()

    def close(self) -> None:
        """Let another process use the folder."""
        os.close(self._file)
        os.close(self._lock)

    def _write(self, parts: list[bytes], segment: Segment) -> None:
        if self._is_torn:
            self._cut(segment)
        written = os.writev(self._file, parts)
        num_bytes = sum(map(len, parts))
        if written < num_bytes:
            self._is_torn = True
            rest = b"".join(parts)[written:]
            try:
                while rest:
                    rest = rest[os.write(self._file, rest) :]  # says why, where the disk is full
            except OSError:
                self._cut(segment)
                raise
            self._is_torn = False
        segment.num_bytes += num_bytes

    def _cut(self, segment: Segment) -> None:
        """Remove what was written of a record that had no room."""
        os.ftruncate(self._file, segment.num_bytes)
        self._is_torn = False

    def _begin_segment(self) -> None:
        segment = Segment.beginning_at(self.folder, self.end)
        file = os.open(segment.path, os.O_WRONLY | os.O_APPEND)
        os.close(self._file)
        self._file = file
        self._segments.append(segment)
        self._remove_what_is_read()
        while self.num_bytes > self._max_bytes - self._segment_bytes and len(self._segments) > 1:
            self._remove_oldest()

    def _remove_what_is_read(self) -> None:
        """Without any reader all is kept, as far as there is room: one may come that wants the oldest."""
        places = [*(reader.place for reader in self.readers.values()), *self._absent.values()]
        needed = min(places, default=self.begin)
        while len(self._segments) > 1 and self._segments[0].end <= needed:
            self._segments.pop(0).path.unlink(missing_ok=True)

    def _remove_oldest(self) -> None:
        oldest = self._segments.pop(0)
        for reader in self.readers.values():
            if reader.place < oldest.end:
                num_records = sum(1 for _ in oldest.records(max(reader.place, oldest.begin), oldest.end))
                if not reader.num_lost:
                    logger.warning(
                        "%s must not exceed %d bytes, and %s is further behind; the oldest requests are lost to it",
                        self.folder,
                        self._max_bytes,
                        reader.name,
                    )
                reader.lose(oldest.end, num_records)
        oldest.path.unlink(missing_ok=True)

    def _opened_at_its_end(self) -> int:
        """The last file, for appending, without what was cut short."""
        last = self._segments[-1]
        whole = last.whole_end() - last.begin
        file = os.open(last.path, os.O_WRONLY | os.O_APPEND)
        if whole < last.num_bytes:
            logger.warning(
                "%s ended amid a record; the %d bytes after its last whole one are removed",
                last.path,
                last.num_bytes - whole,
            )
            os.ftruncate(file, whole)
            last.num_bytes = whole
        return file


def _locked(folder: Path) -> int:
    """A lock on the folder that ends with this process.

    Raises:
        JournalError: another process has it.
    """
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise JournalError(
            f"{folder} must belong to one collector, and another process uses it; "
            "stop that process or set data_dir to another folder"
        ) from None
    return file
