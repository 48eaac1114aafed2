"""What must survive a restart and is no series: open incidents, what is usual, silences."""

import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any, Protocol

import orjson

from telemetry.storage.database import Database

logger = logging.getLogger(__name__)

_SCHEMA = "CREATE TABLE documents (name TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;"


class Documents(Protocol):
    """JSON documents by name."""

    def keep(self, name: str, document: Any) -> None:
        """Keep `document`, in place of the one that had this name."""
        ...

    def kept(self, name: str) -> Any | None:
        """The document of this name, None where there is none."""
        ...


class DocumentsInMemory:
    """Documents of a collector that keeps nothing on disk; as JSON, so that what JSON cannot say fails here too."""

    def __init__(self) -> None:
        self._documents: dict[str, bytes] = {}

    def keep(self, name: str, document: Any) -> None:
        """Keep `document`, in place of the one that had this name."""
        self._documents[name] = orjson.dumps(document)

    def kept(self, name: str) -> Any | None:
        """The document of this name, None where there is none."""
        document = self._documents.get(name)
        return None if document is None else orjson.loads(document)


class DocumentsOnDisk:
    """Documents in a file of their own, each there once `keep` returns: a kill right after it loses nothing.

    Where the disk is full they are kept in memory and written with the next one.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA, ("documents",))
        self._unwritten: dict[str, bytes] = {}
        self._keeping = threading.Lock()

    @property
    def num_put_aside(self) -> int:
        """Damaged files that were put aside since the start."""
        return self._database.num_put_aside

    def keep(self, name: str, document: Any) -> None:
        """Keep `document`, in place of the one that had this name."""
        with self._keeping:
            was_full = bool(self._unwritten)
            self._unwritten[name] = orjson.dumps(document)
            try:
                with self._database.writing() as connection:
                    connection.executemany(
                        "INSERT OR REPLACE INTO documents VALUES (?, ?)", list(self._unwritten.items())
                    )
            except sqlite3.Error as error:
                if not was_full:
                    logger.error("%s cannot be written, and is tried again: %s", self._database.path, error)
                return
            self._unwritten.clear()

    def kept(self, name: str) -> Any | None:
        """The document of this name, None where there is none."""
        document = self._unwritten.get(name)
        if document is None:
            row = self._database.read(
                lambda connection: connection.execute(
                    "SELECT document FROM documents WHERE name = ?", (name,)
                ).fetchone()
            )
            document = row[0] if row else None
        return None if document is None else orjson.loads(document)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
