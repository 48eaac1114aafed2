"""The SQLite file: opened in WAL mode, one writer, readers beside it; put aside where it is damaged.

A damaged file never ends the collector: it is renamed, logged and counted, and a new one begins. A file that an older
release wrote is brought to this one's version; one that a newer release wrote is refused (`versions`).
"""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from telemetry.storage.errors import StorageError
from telemetry.storage.versions import RELEASES, VERSION, check, migrate, note_release

T = TypeVar("T")

logger = logging.getLogger(__name__)

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """One file, or memory where there is no path."""

    def __init__(self, path: Path | None, schema: str, tables: Sequence[str], *, read_only: bool = False) -> None:
        """Open it, or begin it with `schema`; one that lacks any of `tables` is damaged.

        `read_only` never begins a file, nor puts one aside.

        Raises:
            StorageError: the folder cannot be written to, or a newer release has written the file.
        """
        self.path = path
        self._schema, self._tables, self._read_only = schema, tables, read_only
        self.num_put_aside = 0
        self._lock = threading.RLock()
        self._readers = threading.local()
        self._open_readers: list[sqlite3.Connection] = []
        self._generation = 0
        self._is_new = False
        if path and not read_only:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"{path.parent} must be a folder, got: {error.strerror}") from error
        self._connection = self._opened()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, all of it or nothing.

        Raises:
            sqlite3.Error: nothing was written; a damaged file was put aside and is empty now.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if is_damage(error):
                    self.put_aside(str(error))
                raise

    def read(self, ask: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `ask` finds; None where the file turns out to be damaged: it was put aside, and the new one is empty.

        `ask` gets a connection that sees what was written before; of a file, one of this thread's own.
        """
        if self.path is None:
            with self._lock:
                return ask(self._connection)
        if getattr(self._readers, "generation", None) != self._generation:
            self._readers.generation = self._generation
            self._readers.connection = self._connected()
            self._readers.connection.execute("PRAGMA query_only = ON")
            with self._lock:
                self._open_readers.append(self._readers.connection)
        try:
            return ask(self._readers.connection)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self.put_aside(str(error))
            return None

    def put_aside(self, reason: str) -> None:
        """Rename the file and begin a new one.

        Raises:
            StorageError: it is only read here, or in memory.
        """
        if self.path is None or self._read_only:
            raise StorageError(f"{self.path or 'the tables in memory'} must be whole, got: {reason}")
        with self._lock:
            self._connection.close()
            aside = _put_aside(self.path)
            self.num_put_aside += 1
            self._generation += 1
            self._is_new = True
            logger.error("%s is damaged (%s); it was put aside as %s and a new one begun", self.path, reason, aside)
            self._connection = self._created()

    def forget_put_aside(self) -> bool:
        """Whether a file was put aside since this was asked last."""
        was, self._is_new = self._is_new, False
        return was

    @property
    def num_bytes(self) -> int:
        """Bytes in use, without those that were freed and wait for new data."""
        return self.read(_bytes_in_use) or 0

    def close(self) -> None:
        """Write all into the one file and close it."""
        with self._lock:
            for reader in self._open_readers:
                reader.close()
            self._connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._read_only:
            connection = self._connected()
            if self.path:
                check(connection, self.path)
            return connection
        if self.path is None or not self.path.exists():
            return self._created()
        try:
            return self._checked(self.path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not is_damage(error):
                raise StorageError(f"{self.path} must be a file that can be written to, got: {error}") from error
            aside = _put_aside(self.path)
            self.num_put_aside += 1
            logger.error("%s is damaged (%s); it was put aside as %s and a new one begun", self.path, error, aside)
            return self._created()

    def _connected(self) -> sqlite3.Connection:
        name = f"{self.path.absolute().as_uri()}?mode={'ro' if self._read_only else 'rwc'}" if self.path else ":memory:"
        try:
            connection = sqlite3.connect(
                name, timeout=10, isolation_level=None, check_same_thread=False, uri=self.path is not None
            )
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self.path} must be a collector's file, got: {error}") from error
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -8000")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        return connection

    def _created(self) -> sqlite3.Connection:
        connection = self._connected()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN; {self._schema} {RELEASES} PRAGMA user_version = {VERSION}; COMMIT;")
        note_release(connection)
        return connection

    def _checked(self, path: Path) -> sqlite3.Connection:
        """A connection to a file that is as long as it says and has the tables it should, of this version.

        Raises:
            sqlite3.DatabaseError: it is not.
            StorageError: a newer release has written it.
        """
        connection = self._connected()
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            migrate(connection, path)
            for table in self._tables:
                connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1)").fetchone()
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            (pages,), (size,) = (
                connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
            )
            if path.stat().st_size < pages * size:
                raise sqlite3.DatabaseError(f"it must have {pages * size} bytes, got {path.stat().st_size}")
        except (sqlite3.DatabaseError, StorageError):
            connection.close()
            raise
        return connection


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is not what was written, in contrast to a disk that is full or a lock."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED


def _bytes_in_use(connection: sqlite3.Connection) -> int:
    (pages,), (free,), (size,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _put_aside(path: Path) -> Path:
    """Rename the file and what SQLite keeps beside it."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    aside = path.with_name(f"{path.stem}.damaged-{stamp}{path.suffix}")
    for suffix in ("", "-wal", "-shm"):
        each = path.with_name(path.name + suffix)
        if each.exists():
            each.rename(aside.with_name(aside.name + suffix))
    return aside
