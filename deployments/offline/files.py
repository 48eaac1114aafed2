"""What is to be scored: the files of one format at a path or URL, and what tells that one of them has changed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from deployments.errors import ScoringError
from deployments.offline.storage import TAGS, located, reading, unreadable

Format = Literal["parquet", "csv", "jsonl", "text", "pictures"]
FORMATS: tuple[Format, ...] = get_args(Format)
ENDINGS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
    ".jpg": "pictures",
    ".jpeg": "pictures",
    ".png": "pictures",
}
CHUNK_ROWS = 4096
"""Rows of an output file, unless told otherwise: what a crash costs at most, for each worker."""
MAX_BAD = 0.01
"""Share of the rows that may be bad, unless told otherwise."""
_PIECE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One file, as it was when the plan was made."""

    path: str
    """Within its file system."""
    size_bytes: int
    tag: str
    """When it was written, or what else its file system says changes with it; its sha256 where that says nothing."""


def found(url: str, wanted: Format | None = None) -> tuple[Format, tuple[InputFile, ...]]:
    """The files at `url`, by name, and their format: `wanted`, or what their endings say.

    In a folder and those below it, files whose name begins with `.` or `_` do not count.

    Raises:
        ScoringError: there are none, of no known format or of several.
    """
    files, root = located(url)
    with unreadable(url):
        entries = _entries(files, root)
    if not entries:
        raise ScoringError(f"--input must name a file or a folder of files, got {url}: there is none")
    formats = {path: wanted or _format_of(path) for path in entries}
    kinds = set(formats.values())
    if len(kinds) > 1:
        examples = ", ".join(sorted(next(path for path in formats if formats[path] == kind) for kind in kinds))
        raise ScoringError(f"--input must hold files of one format, got {', '.join(sorted(kinds))}: {examples}")
    (kind,) = kinds
    return kind, tuple(_described(files, path, entries[path]) for path in sorted(entries))


def _entries(files: Any, root: str) -> dict[str, Mapping[str, Any]]:
    if files.isfile(root):
        return {root: files.info(root)}
    listed: dict[str, Mapping[str, Any]] = files.find(root, detail=True) if files.exists(root) else {}
    return {path: info for path, info in listed.items() if not _is_hidden(path, root)}


def _is_hidden(path: str, root: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(path.removeprefix(root)).parts)


def _format_of(path: str) -> Format:
    ending = PurePosixPath(path).suffix.lower()
    if ending not in ENDINGS:
        known = ", ".join(ENDINGS)
        raise ScoringError(
            f"{path} must end in one of {known}, got {ending or 'no ending'!r}: --format says what it is"
        )
    return ENDINGS[ending]


def _described(files: Any, path: str, info: Mapping[str, Any]) -> InputFile:
    size_bytes = info.get("size")
    if size_bytes is None:
        raise ScoringError(f"{path} must have a size that its server tells, got none: copy it to this machine")
    tag = next((str(info[name]) for name in TAGS if info.get(name)), None)
    return InputFile(path=path, size_bytes=size_bytes, tag=tag or _digest(files, path))


def _digest(files: Any, path: str) -> str:
    digest = hashlib.sha256()
    with reading(files, path) as file, unreadable(path):
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
