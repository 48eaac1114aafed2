"""The version of what a collector keeps on disk, and how a file of an older one becomes one of this.

All of a data folder has one version: tables, documents, what a checkpoint holds, the journal's records. Whoever changes
the form of any of them raises `VERSION` and says in `MIGRATIONS` what makes a file of the version before one of it.
"""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from telemetry.storage.errors import StorageError

logger = logging.getLogger(__name__)

VERSION = 2
RELEASES = "CREATE TABLE releases (release TEXT PRIMARY KEY, since_s REAL NOT NULL) WITHOUT ROWID;"
"""In each file: which releases have written to it, so that an older one can say what it needs."""
MIGRATIONS: Mapping[int, str] = {1: RELEASES}
"""By version, the statements that make a file of the next one of it."""


def refuse_newer(path: Path) -> None:
    """Look at a file before anything is done to its folder; one that is missing or damaged is not refused.

    Raises:
        StorageError: a newer release has written it.
    """
    if not path.exists():
        return
    with contextlib.suppress(sqlite3.DatabaseError):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
        with contextlib.closing(connection):
            check(connection, path)


def check(connection: sqlite3.Connection, path: Path) -> int:
    """The version of a file.

    Raises:
        StorageError: a newer release has written it.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise StorageError(
            f"{path} must have state version {VERSION} or an older one, got {found}, written by "
            f"{_last_release(connection)}: run that release, or restore a backup from before it"
        )
    return int(found)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file of an older version to this one, all of it or nothing, and note the release that did.

    Raises:
        StorageError: a newer release has written it.
        sqlite3.DatabaseError: it is no file of a collector.
    """
    found = check(connection, path)
    if found < min(MIGRATIONS):
        raise sqlite3.DatabaseError(f"its version must be {VERSION}, got {found}")
    if found < VERSION:
        statements = "".join(MIGRATIONS[each] for each in range(found, VERSION))
        connection.executescript(f"BEGIN IMMEDIATE; {statements} PRAGMA user_version = {VERSION}; COMMIT;")
        logger.warning("%s was brought from state version %d to %d", path, found, VERSION)
    note_release(connection)


def note_release(connection: sqlite3.Connection) -> None:
    """This release writes to the file from now on."""
    connection.execute("INSERT OR IGNORE INTO releases VALUES (?, ?)", (version("trimtab"), time.time()))


def _last_release(connection: sqlite3.Connection) -> str:
    try:
        row = connection.execute("SELECT release FROM releases ORDER BY since_s DESC LIMIT 1").fetchone()
    except sqlite3.DatabaseError:
        row = None
    return f"Trimtab {row[0]}" if row else "a newer release"
