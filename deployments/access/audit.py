"""The audit log: one JSON line for each request that access control saw, answered or refused.

    {"time": "2026-01-31T12:00:00.123456Z", "key": "ci", "client": "10.0.0.7", "forwarded_for": null,
     "method": "POST", "path": "/v2/models/digits/infer", "status": 200}

A key is named by its id, never shown. `client` is who holds the connection, the ingress for most; `forwarded_for` is
what the request says, which the ingress sets and a caller of a replica's own port may invent. Each process writes a
file of its own, so that none rotates another's away.
"""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import orjson

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 64 * 2**20
NUM_OLD_FILES = 4
MAX_TEXT = 256
"""Characters kept of what a client chose: a flood of long paths must not fill the disk."""
WRITE_EVERY_S = 0.5
"""Lines wait so long at most; what a killed process had not written by then is lost."""


class AuditLog:
    """Appends to `path`; when it is full it becomes `<path>.1`, that `<path>.2`, and so on."""

    def __init__(self, path: Path, *, max_file_bytes: int = MAX_FILE_BYTES, num_old_files: int = NUM_OLD_FILES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._max_file_bytes = max_file_bytes
        self._num_old_files = num_old_files
        self._lines: list[bytes] = []
        self._due: asyncio.TimerHandle | None = None

    def record(
        self,
        *,
        key: str | None,
        client: str | None,
        forwarded_for: str | None,
        method: str,
        path: str,
        status: int,
    ) -> None:
        """Note one request; called in an event loop."""
        entry = {
            "time": datetime.now(UTC),
            "key": key,
            "client": client,
            "forwarded_for": forwarded_for and forwarded_for[:MAX_TEXT],
            "method": method[:MAX_TEXT],
            "path": path[:MAX_TEXT],
            "status": status,
        }
        self._lines.append(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(WRITE_EVERY_S, self.write)

    def write(self) -> None:
        """Write what waits. A disk that refuses is reported; it does not stop the service."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        lines, self._lines = self._lines, []
        try:
            self._rotate()
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
        except OSError:
            logger.exception("%d lines of the audit log %s are lost", len(lines), self._path)

    def _rotate(self) -> None:
        if not self._path.exists() or self._path.stat().st_size < self._max_file_bytes:
            return
        for number in range(self._num_old_files, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)
