"""All trainings on disk, each state written before it is acted on; one loop at a time."""

import fcntl
import logging
import os
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from deployments.errors import SettingsError
from deployments.retraining.training import Training

logger = logging.getLogger(__name__)

FILE, LOCK, ORDER = "trainings.jsonl", "lock", "order"
Order = Literal["approve", "reject"]


class Journal:
    """The file: a later line of the same training stands for an earlier one."""

    def __init__(self, folder: Path) -> None:
        """Read what there is.

        Raises:
            SettingsError: another loop has it open, or the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(f"state must be no other loop's, got {folder}: one runs there already") from error
        except OSError as error:
            raise SettingsError(f"state must be a folder that can be written, got {folder}: {error}") from error
        self.folder = folder
        self.trainings = read(folder)
        self._file = (folder / FILE).open("ab")

    def keep(self, training: Training) -> None:
        """Write a state down; it is on the disk when this returns."""
        self._file.write(b"\n" + training.model_dump_json().encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.trainings[training.id] = training

    def close(self) -> None:
        """Let another loop have it."""
        self._file.close()
        self._lock.close()

    def order(self) -> Order | None:
        """What a person ordered."""
        try:
            return "approve" if (self.folder / ORDER).read_text() == "approve" else "reject"
        except FileNotFoundError:
            return None

    def forget_order(self) -> None:
        """It is done, and a later version needs one of its own."""
        (self.folder / ORDER).unlink(missing_ok=True)


def read(folder: Path) -> dict[int, Training]:
    """All trainings by number, oldest first; a line that a crash cut short was not acted on."""
    found: dict[int, Training] = {}
    path = folder / FILE
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else (), 1):
        try:
            if line:
                training = Training.model_validate_json(line)
                found[training.id] = training
        except ValidationError:
            logger.warning("%s: line %d is no training and is left out", path, number)
    return found


def give_order(folder: Path, order: Order) -> None:
    """Say what a person decided; the loop takes it up.

    Raises:
        SettingsError: nothing waits for it.
    """
    latest = next(reversed(read(folder).values()), None)
    if latest is None or latest.phase != "awaiting_approval":
        raise SettingsError(f"{order} needs a version that waits for it, got {latest.phase if latest else 'none'}")
    partial = folder / f".{ORDER}"
    partial.write_text(order)
    partial.replace(folder / ORDER)
