"""What was trained, kept by all it depends on: what is equal to something that was done once is not done again.

    runs/checkpoints/<digest>/  parts.json          what it depends on, and which recipe asked last
                                epoch.checkpoint    to go on from, while it is being trained
                                trained.checkpoint  weights, losses and scores, when it is done
                                costs.json          what was measured, where it is no training
    runs/answers/<digest>.npy   a teacher's answers
    runs/trials/<digest>/       what a trial of a search came to

Recipes share the store. Of all that is in it, what was not used for longest goes first, as soon as there is more than
the limit; what the run at hand uses stays.
"""

import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from optimization.identity import content
from optimization.pruning.scores import Saliency
from optimization.training import checkpoint
from optimization.training.identity import Parts

LIMIT_BYTES = 10 * 2**30
"""What the store may hold, unless told."""

_PARTS, _EPOCH, _TRAINED = "parts.json", "epoch.checkpoint", "trained.checkpoint"
ANSWERS = ".npy"
"""How a teacher's answers end."""
_DIGEST_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training came to."""

    weights: dict[str, Tensor]
    losses: list[float]
    saliency: Saliency | None
    choice: dict[str, Any] | None = None
    """The precision that was chosen for it by measurement (`PrecisionChoice`), where that was left open."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The place of one training in the store."""

    folder: Path
    name: str
    """The step it is for, such as "distill", or "prune 2" for the second training of that step."""
    trained: Trained | None
    """What it came to, where it was done before."""
    saved: bytes | None
    """Its newest checkpoint, where it was begun before."""
    reason: str
    """What differs from the last training of this step of this recipe; empty where there was none, or nothing does."""

    @property
    def checkpoint(self) -> Path:
        """Where its newest checkpoint belongs."""
        return self.folder / _EPOCH


class CheckpointStore:
    """Trainings, answers and trials below `runs`; `say` is told what is used again, what is not, and why."""

    def __init__(
        self,
        runs: Path,
        recipe: str,
        *,
        fresh: bool = False,
        limit_bytes: int = LIMIT_BYTES,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.answers = runs / "answers"
        self.trials = runs / "trials"
        self.say = say
        self._checkpoints = runs / "checkpoints"
        self._recipe = recipe
        self._fresh = fresh
        self._limit_bytes = limit_bytes
        self._counts: Counter[str] = Counter()
        self._used: set[Path] = set()

    def find(self, step: str, parts: Parts) -> Entry:
        """What is known of a training of `step` that depends on `parts`."""
        self._counts[step] += 1
        name = step if self._counts[step] == 1 else f"{step} {self._counts[step]}"
        folder = self._checkpoints / content.of_values(parts)
        is_usable = self._is_usable(folder)
        reason = "" if folder.is_dir() else self._reason(name, parts)
        trained = _read(folder / _TRAINED) if is_usable else None
        saved = _bytes(folder / _EPOCH) if is_usable and trained is None else None
        record = {"recipe": self._recipe, "step": name, "parts": parts}
        checkpoint.write(folder / _PARTS, json.dumps(record, indent=1).encode())
        self._use(folder)
        return Entry(folder=folder, name=name, trained=trained, saved=saved, reason=reason)

    @property
    def has_trained(self) -> bool:
        """Whether there is anything that may be used again."""
        return not self._fresh and any(self._checkpoints.glob(f"*/{_TRAINED}"))

    def known(self, parts: Parts) -> Trained | None:
        """What a training that depends on `parts` came to, where it was done before; to look is not to use."""
        folder = self._checkpoints / content.of_values(parts)
        return _read(folder / _TRAINED) if self._is_usable(folder) else None

    def known_answers(self, parts: Parts) -> Path | None:
        """Where a teacher's answers lie that depend on `parts`, if there are any; to look is not to use."""
        path = self.answers / f"{content.of_values(parts)}{ANSWERS}"
        return path if self._is_usable(path) and path.is_file() else None

    def finish(self, entry: Entry, trained: Trained) -> None:
        """Keep what a training came to, in place of its checkpoints."""
        checkpoint.write(entry.folder / _TRAINED, checkpoint.packed(vars(trained)))
        entry.checkpoint.unlink(missing_ok=True)
        self._use(entry.folder)
        self.prune()

    def once(self, name: str, parts: Parts, find: Callable[[], dict[str, float]]) -> dict[str, float]:
        """What `find` gives, or gave the last time: what is measured anew would differ, and all that hangs on it."""
        folder = self._checkpoints / content.of_values({"measured": name, **parts})
        path = folder / f"{name}.json"
        if not (self._is_usable(folder) and path.is_file()):
            checkpoint.write(path, json.dumps(find()).encode())
        self._use(folder)
        found: dict[str, float] = json.loads(path.read_text())
        return found

    def place(self, folder: Path, parts: Parts, ending: str = "") -> tuple[Path, bool]:
        """Where in `folder` that belongs which depends on `parts`, and whether what lies there may be used."""
        path = folder / f"{content.of_values(parts)}{ending}"
        is_usable = self._is_usable(path) and path.exists()
        self._use(path)
        return path, is_usable

    def prune(self) -> None:
        """Remove what was not used for longest until the store is within its limit, and say so."""
        homes = (self._checkpoints, self.answers, self.trials)
        entries = [each for home in homes if home.is_dir() for each in home.iterdir()]
        sizes = {each: _size(each) for each in entries}
        over = sum(sizes.values()) - self._limit_bytes
        removed = []
        for each in sorted(entries, key=lambda each: each.stat().st_mtime):
            if over <= 0:
                break
            if each not in self._used:
                shutil.rmtree(each) if each.is_dir() else each.unlink()
                over -= sizes[each]
                removed.append(sizes[each])
        if removed:
            limit, freed = self._limit_bytes / 2**30, sum(removed) / 2**30
            self.say(f"{len(removed)} kept results ({freed:.2f} GiB), unused for longest, removed: limit {limit:g} GiB")

    def _is_usable(self, path: Path) -> bool:
        """With `fresh`, only what this very run made is used."""
        return not self._fresh or path in self._used

    def _use(self, path: Path) -> None:
        self._used.add(path)
        if path.exists():
            path.touch()

    def _reason(self, name: str, parts: Parts) -> str:
        """What differs from the training that this recipe last had at this place."""
        records = []
        for path in self._checkpoints.glob(f"*/{_PARTS}"):
            record = json.loads(path.read_text())
            if (record["recipe"], record["step"]) == (self._recipe, name):
                records.append((path.stat().st_mtime, record["parts"]))
        if not records:
            return ""
        return ", ".join(_differences(max(records, key=lambda each: each[0])[1], parts))


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    found = []
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name), after.get(name)
        if one != other:
            is_digest = any(isinstance(each, str) and len(each) >= _DIGEST_LENGTH for each in (one, other))
            found.append(name if is_digest else f"{name} {one} → {other}")
    return found


def _read(path: Path) -> Trained | None:
    """What a training came to; none where it is not there or damaged."""
    packed = _bytes(path)
    if packed is None:
        return None
    try:
        return Trained(**checkpoint.unpacked(packed))
    except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError):
        return None


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())
