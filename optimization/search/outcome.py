"""What a trial came to, kept on disk, so that a search that was stopped goes on with the trials that are left.

runs/trials/<digest of all a trial depends on>/outcome.json, distill.onnx, prune.onnx, ...
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp

from pydantic import TypeAdapter, ValidationError

from optimization.running.workspace import Candidate
from optimization.search.tuning import Ended

_OUTCOME = "outcome.json"


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a trial left behind; files travel as bytes, since trials may run on other nodes."""

    candidates: list[Candidate]
    """Their paths are bare names."""
    files: list[bytes]
    losses: dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class _Record:
    candidates: list[Candidate] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    stopped_at: float | None = None
    search: str | None = None
    """The search that stopped it: another one might not, since a trial is stopped for being worse than others."""


_RECORD = TypeAdapter(_Record)


def keep(ended: Ended[Made], folder: Path, search: str) -> None:
    """Write how a trial of `search` ended to `folder`, whole or not at all; one that failed is tried again."""
    if ended.problem is not None:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(prefix=".", dir=folder.parent))
    record = _Record(stopped_at=ended.stopped_at, search=search)
    if ended.outcome is not None:
        unpack(ended.outcome, unfinished)
        record = replace(record, candidates=ended.outcome.candidates, losses=ended.outcome.losses)
    (unfinished / _OUTCOME).write_bytes(_RECORD.dump_json(record))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def kept(folder: Path, search: str) -> Ended[Made] | None:
    """How the trial ended that was kept in `folder`; none where there is none, or another search stopped it."""
    try:
        record = _RECORD.validate_json((folder / _OUTCOME).read_bytes())
        if record.stopped_at is not None:
            if record.search != search:
                return None
            return Ended(stopped_at=record.stopped_at)
        files = [(folder / each.path).read_bytes() for each in record.candidates]
    except (OSError, ValidationError):
        return None
    return Ended(outcome=Made(candidates=record.candidates, files=files, losses=record.losses))


def pack(candidates: Sequence[Candidate], losses: dict[str, list[float]]) -> Made:
    """The candidates with their files as bytes."""
    bare = [replace(each, path=Path(each.path.name)) for each in candidates]
    return Made(candidates=bare, files=[each.path.read_bytes() for each in candidates], losses=losses)


def unpack(made: Made, folder: Path) -> list[Candidate]:
    """The candidates, their files written to `folder`."""
    folder.mkdir(exist_ok=True)
    candidates = []
    for candidate, content in zip(made.candidates, made.files, strict=True):
        path = folder / candidate.path
        path.write_bytes(content)
        candidates.append(replace(candidate, path=path))
    return candidates
