"""What the nodes of a cluster are told of a pushed version: its manifest, the pieces that carry its files, the rate."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from optimization.artifact import store
from optimization.artifact.manifest import FileEntry
from optimization.artifact.store import MANIFEST

PIECE_BYTES = 8 * 2**20
"""What is read, sent and held in memory as one."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a file."""

    file: str
    offset: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """One version of one model, as it was pushed."""

    name: str
    version: str
    manifest: str
    """The text of its manifest; two versions are the same where it is."""
    pieces: tuple[Piece, ...]
    mb_per_s: float
    """Megabytes a second that a node takes, and gives, at most."""

    @cached_property
    def digest(self) -> str:
        """Of the manifest, which has the digests of all files."""
        return hashlib.sha256(self.manifest.encode()).hexdigest()

    @property
    def key(self) -> str:
        """What tells it from every other version, by content."""
        return f"{self.name}.{self.version}.{self.digest[:16]}"

    @cached_property
    def files(self) -> Mapping[str, FileEntry]:
        """What the manifest says of each file."""
        where = f"manifest of {self.name} version {self.version}"
        return store.parse_manifest(self.manifest.encode(), where).files

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return len(self.manifest.encode()) + sum(piece.size_bytes for piece in self.pieces)

    def to_json(self) -> bytes:
        """As it is kept; `from_json` reads it."""
        return json.dumps(asdict(self)).encode()


def from_json(content: bytes) -> Announcement:
    """The announcement that was kept as `content`."""
    told = json.loads(content)
    return Announcement(**told | {"pieces": tuple(Piece(**piece) for piece in told["pieces"])})


def described(path: Path, mb_per_s: float) -> Announcement:
    """The verified version in the directory `path`.

    Raises:
        ArtifactError: it is damaged.
    """
    manifest = store.load(path).manifest
    pieces = [piece for name in sorted(manifest.files) for piece in _pieces(store.inside(path, name), name)]
    text = (path / MANIFEST).read_text(encoding="utf-8")
    return Announcement(
        name=manifest.name, version=manifest.version, manifest=text, pieces=tuple(pieces), mb_per_s=mb_per_s
    )


def _pieces(file: Path, name: str) -> Iterator[Piece]:
    offset = 0
    with file.open("rb") as opened:
        while content := opened.read(PIECE_BYTES):
            digest = hashlib.sha256(content).hexdigest()
            yield Piece(file=name, offset=offset, size_bytes=len(content), sha256=digest)
            offset += len(content)
