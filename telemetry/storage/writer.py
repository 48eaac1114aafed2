"""The one thread that writes: checkpoints first, then what makes room and order."""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from telemetry.failures import Failures
from telemetry.journal.record import Place
from telemetry.storage import points, requests, retention
from telemetry.storage.catalogue import Catalogue
from telemetry.storage.config import StorageConfig
from telemetry.storage.database import Database
from telemetry.storage.errors import StorageError
from telemetry.storage.head import Head

logger = logging.getLogger(__name__)

RETRY_S = 1.0
IDLE_S = 5.0
"""The thread ends when nothing came for so long, and begins anew with the next checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What one transaction writes."""

    head: Head
    now_s: float
    place: Place
    states: dict[str, bytes]
    done: Callable[[], None] | None


class Writer:
    """Writes checkpoints in their order; one that finds no room waits, with those after it, and is tried again."""

    def __init__(self, database: Database, catalogue: Catalogue, config: StorageConfig) -> None:
        self.waiting: deque[Checkpoint] = deque()
        """Not on disk yet; what they hold is read from here."""
        self.num_failed = 0
        """Attempts that found no room."""
        self._database, self._catalogue, self._config = database, catalogue, config
        self._failures = Failures(logger)
        self._changed = threading.Condition()
        self._is_stopping = False
        self._is_idle = True
        self._tidied_ms = 0
        self._thread: threading.Thread | None = None

    def put(self, checkpoint: Checkpoint) -> None:
        """Have it written."""
        with self._changed:
            self.waiting.append(checkpoint)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="storage", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until all is written and in order; False where it is not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.waiting and self._is_idle, timeout_s)

    def stop(self) -> None:
        """Write what waits, once more where there was no room, and end the thread."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread:
            thread.join()

    def _run(self) -> None:
        while checkpoint := self._next():
            is_written = True
            with self._failures.contained("a checkpoint"):
                is_written = self._write(checkpoint)
            if self.waiting and self.waiting[0] is checkpoint and is_written:
                self.waiting.popleft()  # a fault of ours, that no other attempt would mend: the others go on
            with self._failures.contained("putting storage in order"):
                if is_written:
                    self._tidy(round(checkpoint.now_s * 1e3))
            with self._changed:
                self._is_idle = True
                self._changed.notify_all()
                if not is_written:
                    if self._is_stopping:
                        return
                    self._changed.wait_for(lambda: self._is_stopping, RETRY_S)

    def _next(self) -> Checkpoint | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self.waiting) or self._is_stopping, IDLE_S)
            self._is_idle = not self.waiting
            if not self.waiting:
                self._thread = None
                return None
            return self.waiting[0]

    def _write(self, checkpoint: Checkpoint) -> bool:
        now_ms = round(checkpoint.now_s * 1e3)
        if self._database.forget_put_aside():
            self._catalogue.write_all_again()
        try:
            with self._database.writing() as connection:
                blocks = checkpoint.head.blocks()
                for block in blocks:
                    points.write(connection, points.RAW, block)
                requests.write(connection, checkpoint.head.requests)
                first_ms = min((int(block.times_ms.min()) for block in blocks), default=now_ms)
                numbers = self._catalogue.write(connection, checkpoint.head.ids().tolist(), now_ms, first_ms)
                states = {"place": str(checkpoint.place).encode(), **checkpoint.states}
                connection.executemany("INSERT OR REPLACE INTO checkpoint VALUES (?, ?)", list(states.items()))
        except sqlite3.Error as error:
            if not self.num_failed:
                logger.error("storage cannot write, and tries again: %s", error)
            self.num_failed += 1
            return False
        self._catalogue.written(numbers, now_ms)
        self.waiting.popleft()
        if self.num_failed:
            logger.warning("storage writes again, after %d attempts that found no room", self.num_failed)
            self.num_failed = 0
        if checkpoint.done:
            checkpoint.done()
        return True

    def _tidy(self, now_ms: int) -> None:
        """Merge what is over and remove what is old, a little at a time, as long as no checkpoint waits."""
        if now_ms - self._tidied_ms < points.MINUTES_BETWEEN_MS:
            return
        try:
            for each in self._database.read(lambda connection: points.due(connection, now_ms)) or ():
                with self._database.writing() as connection:
                    points.merge(connection, each)
                if self.waiting and not self._is_stopping:
                    return
            retention.apply(self._database, self._config, now_ms)
            self._tidied_ms = now_ms
        except (sqlite3.Error, StorageError) as error:
            logger.error("storage cannot be put in order, and tries again: %s", error)
