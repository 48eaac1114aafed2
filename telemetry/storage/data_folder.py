"""What a collector keeps on disk, all in one folder: journal, storage, documents.

data_dir/journal/…            requests as they came
data_dir/telemetry.sqlite     series, spans, logs
data_dir/documents.sqlite     baselines, incidents, silences, outbox
"""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from telemetry.journal.errors import JournalError
from telemetry.journal.journal import Journal
from telemetry.journal.record import Place, Record, Signal
from telemetry.receivers.origin import Peer
from telemetry.storage.config import StorageConfig
from telemetry.storage.documents import Documents, DocumentsInMemory, DocumentsOnDisk
from telemetry.storage.storage import FILE, Storage
from telemetry.storage.versions import refuse_newer

JOURNAL, DOCUMENTS = "journal", "documents.sqlite"
SEGMENTS = 16
"""Files that a full journal has."""
READ_BYTES = 2**24
"""Of the journal, that are held in memory at a time."""


def default_folder() -> Path:
    """Where a collector keeps what it knows unless it is told otherwise: the user's folder for such data."""
    return _state_folder() / "telemetry"


def default_rollouts() -> Path:
    """Where the rollouts of models are kept, beside it."""
    return _state_folder() / "rollouts"


def _state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "trimtab"


class DataFolder:
    """Opens all three; without a folder they are in memory, and there is no journal."""

    def __init__(self, folder: Path | None, config: StorageConfig) -> None:
        """Open or begin them.

        Raises:
            JournalError: another collector uses the folder.
            StorageError: it cannot be written to, or a newer release has written it: it is left as it is.
        """
        self.journal: Journal | None = None
        self.documents: Documents = DocumentsInMemory()
        if folder is not None:
            for name in (FILE, DOCUMENTS):
                refuse_newer(folder / name)
            self.journal = Journal(
                folder / JOURNAL,
                segment_bytes=config.journal_bytes // SEGMENTS,
                max_bytes=config.journal_bytes,
            )
            self.documents = DocumentsOnDisk(folder / DOCUMENTS)
        self.storage = Storage(folder, config)
        self._replayed: Place | None = None
        self._reader = self.journal.reader("storage", "oldest") if self.journal else None

    def receive(self, signal: Signal, body: bytes, time_s: float, peer: Peer, gzipped: bytes = b"") -> None:
        """Write a request down; only then may it be acknowledged. `gzipped` is its body as it came, if it came so.

        Raises:
            JournalError: there is no room, here or for what was received before; so memory stays bounded, too.
        """
        if self.journal is not None and self.storage.is_behind:
            raise JournalError("storage must have room for what was received before; its disk is full or too slow")
        if self.journal is not None:
            self.journal.append(signal, body, time_s, " ".join(peer), gzipped)

    def checkpoint(self, now_s: float, states: Mapping[str, bytes] | None = None) -> None:
        """Have all that storage was given written, with `states` that belong to it."""
        if self.journal is None or self._reader is None:
            self.storage.checkpoint(now_s, states=states)
            return
        place = self.journal.end if self._replayed is None else self._replayed
        self.storage.checkpoint(now_s, place, states, done=partial(self._reader.commit, place))

    def unwritten(self) -> Iterator[Record]:
        """What the journal holds beyond the last checkpoint; all of it where that is lost.

        A checkpoint meanwhile reaches to the end of the record that was given last, so that one must be taken by then.
        """
        if self.journal is None or self._reader is None:
            return
        self._replayed, _ = self.storage.checkpointed()
        while records := self._reader.read(READ_BYTES, self._replayed):
            for record in records:
                self._replayed = record.place
                yield record
        self._replayed = None

    def close(self) -> None:
        """Write all and let another collector use the folder; what is in memory stays readable."""
        if self.journal is None:
            return
        self.storage.close()
        if isinstance(self.documents, DocumentsOnDisk):
            self.documents.close()
        self.journal.close()


def sender_of(record: Record) -> Peer:
    """Who sent it, as `receive` wrote it down."""
    return Peer(*record.sender.split(" ", 1))
