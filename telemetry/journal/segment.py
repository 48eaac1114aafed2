"""One file of the journal, named by the place at which it begins."""

import os
from collections.abc import Iterator
from pathlib import Path

from telemetry.journal.record import HEADER_BYTES, MAGIC, Header, Place, header, is_whole

SUFFIX = ".journal"


class Segment:
    """A file of records, one after the other; damaged bytes between them are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begin: Place = int(path.stem)
        self.num_bytes = path.stat().st_size

    @classmethod
    def beginning_at(cls, folder: Path, begin: Place) -> "Segment":
        """A new, empty file."""
        path = folder / f"{begin:020d}{SUFFIX}"
        path.touch()
        return cls(path)

    @property
    def end(self) -> Place:
        """Where the next record begins."""
        return self.begin + self.num_bytes

    def records(self, place: Place, end: Place) -> Iterator[tuple[Place, Header, bytes]]:
        """(where it ends, header, content) of each whole record between two places, `place` at a record's beginning."""
        with self.path.open("rb", buffering=0) as file:
            while place < end:
                found = self._at(file.fileno(), place, end)
                if found is None:
                    place = self._next(file.fileno(), place + 1, end)
                    continue
                head, content = found
                place += head.num_bytes
                yield place, head, content

    def whole_end(self) -> Place:
        """Where the last whole record ends: what follows was cut short when its writer died."""
        place = self.begin
        for place, _, _ in self.records(self.begin, self.end):  # noqa: B007 - the last one counts
            pass
        return place

    def _at(self, file: int, place: Place, end: Place) -> tuple[Header, bytes] | None:
        offset = place - self.begin
        head = header(os.pread(file, HEADER_BYTES, offset))
        if head is None or place + head.num_bytes > end:
            return None
        content = os.pread(file, head.num_bytes - HEADER_BYTES, offset + HEADER_BYTES)
        return (head, content) if is_whole(head, content) else None

    def _next(self, file: int, place: Place, end: Place) -> Place:
        """Where the next record may begin: at the magic after `place`, else at the end."""
        while place < end:
            piece = os.pread(file, 2**16, place - self.begin)
            if (at := piece.find(MAGIC)) >= 0:
                return place + at
            if len(piece) < len(MAGIC):
                break
            place += len(piece) - len(MAGIC) + 1
        return end
