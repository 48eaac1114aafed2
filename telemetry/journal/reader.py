"""One reader of the journal, and how far it has come."""

import logging
import re
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.journal.errors import JournalError
from telemetry.journal.record import Place, Record, decoded

if TYPE_CHECKING:
    from telemetry.journal.journal import Journal

logger = logging.getLogger(__name__)

PLACE_SUFFIX = ".place"
_NAME = re.compile(r"[\w.-]{1,100}")
_PLACE = struct.Struct("<QI")


class Reader:
    """Reads records in their order; its place survives the process, whose death may make it read some twice."""

    def __init__(self, journal: "Journal", name: str, start: Place) -> None:
        if not _NAME.fullmatch(name):
            raise JournalError(f"a reader's name must be of letters, digits, '_', '-' and '.', got {name!r}")
        self.name = name
        self.num_lost = 0
        """Records that were removed before this reader came to them, since the journal was full."""
        self.lost_bytes = 0
        self._journal = journal
        self._path = journal.folder / f"{name}{PLACE_SUFFIX}"
        before = kept(self._path)
        self.place: Place = journal.within(start if before is None else before)
        self._is_logged = False
        if before != self.place:
            self._keep()

    @property
    def lag_bytes(self) -> int:
        """Bytes, as they are stored, that are still to be read."""
        return self._journal.end - self.place

    def read(self, max_bytes: int, after: Place | None = None) -> list[Record]:
        """The records that follow `after`, by default what was committed: at least one where there is any, further ones
        while their bodies together have at most `max_bytes`.
        """
        found: list[Record] = []
        num_bytes = 0
        for place, head, content in self._journal.records(self.place if after is None else after):
            record = decoded(head, content, place)
            num_bytes += len(record.body)
            if found and num_bytes > max_bytes:
                break
            found.append(record)
            if num_bytes >= max_bytes:
                break
        return found

    def commit(self, place: Place) -> None:
        """Be done with all records up to `place`, a record's; files that no reader needs are removed."""
        if place <= self.place:
            return
        self.place = place
        self._keep()
        self._journal.release()

    def lose(self, place: Place, num_records: int) -> None:
        """Go on at `place`: the records before it were removed."""
        self.num_lost += num_records
        self.lost_bytes += place - self.place
        self.place = place

    def _keep(self) -> None:
        """Write down the place: twelve bytes over those before, so that it takes no room and no time."""
        packed = struct.pack("<Q", self.place)
        try:
            with self._path.open("r+b" if self._path.exists() else "wb", buffering=0) as file:
                file.write(packed + struct.pack("<I", zlib.crc32(packed)))
        except OSError as error:
            if not self._is_logged:
                self._is_logged = True
                logger.warning(
                    "the place of reader %s in %s could not be kept (%s); after a restart it reads some records twice",
                    self.name,
                    self._path.parent,
                    error.strerror,
                )


def kept(path: Path) -> Place | None:
    """The place that was kept; None where there is none that can be believed."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(raw) != _PLACE.size:
        return None
    place, crc = _PLACE.unpack(raw)
    return int(place) if zlib.crc32(raw[:8]) == crc else None
