"""All rollouts, and the version that each model was last rolled out to, on disk: written before they are acted on.

Each line of the file is a rollout or a pin, as JSON; a later line stands for the earlier one. A line that a crash or a
full disk cut short was not acted on, and the next begins anew.
"""

import fcntl
import json
import logging
import os
from pathlib import Path
from typing import Any

from deployments.rollout.state import Rollout

logger = logging.getLogger(__name__)

FORMAT = 1
KEPT = 50
"""Ended rollouts of each model that are kept when the file is written anew; the oldest go."""
MOST_GROWTH = 2**20
"""Bytes that are added to twice what the file had when it was last written anew, before it is again."""
FILE = "rollouts.jsonl"


def default_folder() -> Path:
    """Where rollouts are kept unless it is said otherwise: the user's folder for such data."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "trimtab" / "rollouts"


class History:
    """The file, and what it says; one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Read what there is.

        Raises:
            BlockingIOError: another process has it open.
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.rollouts: dict[str, Rollout] = {}
            """By id, oldest first."""
            self.pins: dict[str, str] = {}
            """By model."""
            self._read()
            self._rewrite()
            self._open()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let another process have it."""
        self._file.close()
        self._lock.close()

    def latest(self, model: str) -> Rollout | None:
        """The model's last rollout."""
        return next((each for each in reversed(self.rollouts.values()) if each.model == model), None)

    def active(self) -> list[Rollout]:
        """Those that have not ended."""
        return [each for each in self.rollouts.values() if not each.has_ended]

    def keep(self, rollout: Rollout) -> None:
        """Write a rollout down; it is on the disk when this returns."""
        self._append(_rollout_line(rollout))
        self.rollouts[rollout.id] = rollout
        if self._file.tell() > self._most_bytes:
            self._shorten()

    def pin(self, model: str, version: str) -> None:
        """Write down which version a model was rolled out to."""
        self._append(_pin_line(model, version))
        self.pins[model] = version

    def _append(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> None:
        if not self._path.exists():
            return
        for number, line in enumerate(self._path.read_bytes().split(b"\n"), 1):
            try:
                if line:
                    self._take(json.loads(line))
            except (ValueError, LookupError, TypeError) as error:
                logger.warning("%s: line %d is no rollout and is left out: %s", self._path, number, error)

    def _take(self, entry: Any) -> None:
        if entry["format"] != FORMAT:
            raise ValueError(f"format must be {FORMAT}, got {entry['format']!r}")
        if "rollout" in entry:
            rollout = Rollout.model_validate(entry["rollout"])
            self.rollouts[rollout.id] = rollout
        else:
            self.pins[entry["model"]] = entry["pinned"]

    def _rewrite(self) -> None:
        """Leave out what later lines stand for, and the oldest; a crash leaves the old file or the new one."""
        for model in {each.model for each in self.rollouts.values()}:
            ended = [each.id for each in self.rollouts.values() if each.model == model and each.has_ended]
            for old in ended[:-KEPT]:
                del self.rollouts[old]
        lines = [_pin_line(*pin) for pin in self.pins.items()] + [
            _rollout_line(each) for each in self.rollouts.values()
        ]
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _open(self) -> None:
        self._file = self._path.open("ab")
        self._most_bytes = 2 * self._file.tell() + MOST_GROWTH

    def _shorten(self) -> None:
        """Write the file anew; where there is no room it stays, with all that was kept."""
        self._file.close()
        try:
            self._rewrite()
        except OSError as error:
            logger.warning("%s cannot be shortened and grows on: %s", self._path, error)
        self._open()


def _rollout_line(rollout: Rollout) -> bytes:
    return _line({"format": FORMAT, "rollout": rollout.model_dump(mode="json")})


def _pin_line(model: str, version: str) -> bytes:
    return _line({"format": FORMAT, "model": model, "pinned": version})


def _line(entry: Any) -> bytes:
    return b"\n" + json.dumps(entry).encode()
