"""What a run does, kept beside its output: only the same run may go on with it."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from deployments.errors import ScoringError
from deployments.offline.files import Format, InputFile
from deployments.offline.rows import Chunk, Schema

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What must be the same for a run to be gone on with."""

    model: str
    version: str
    sha256: str
    """Of the model's manifest, which holds the digests of its files."""
    format: Format
    columns: Mapping[str, tuple[str, ...]]
    """What `--column` says."""
    keep: tuple[str, ...] | None
    """What `--keep` says; none for all columns."""
    chunk_rows: int
    files: tuple[InputFile, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The identity of a run, and the chunks of its rows."""

    identity: Identity
    schema: Schema
    chunks: tuple[Chunk, ...]

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return sum(chunk.num_rows for chunk in self.chunks)

    def as_json(self) -> dict[str, Any]:
        """The plan, for `_plan.json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            **_settings(self.identity),
            "files": [astuple(file) for file in self.identity.files],
            "schema": self.schema,
            "chunks": [astuple(chunk) for chunk in self.chunks],
        }


def resumed(kept: Mapping[str, Any], identity: Identity, where: str) -> Plan:
    """The plan that is `kept` at `where`, if it is one for the same run.

    Raises:
        ScoringError: something differs; it is named.
    """
    if kept.get("schema_version") != SCHEMA_VERSION:
        got = kept.get("schema_version")
        raise ScoringError(f"{where}: the plan's schema_version must be {SCHEMA_VERSION}, got {got!r}")
    now = _settings(identity)
    changed = [f"{name} was {kept.get(name)!r}, is {value!r}" for name, value in now.items() if kept.get(name) != value]
    changed += _changed_files([InputFile(**_named(InputFile, each)) for each in kept["files"]], identity.files)
    if changed:
        raise ScoringError(
            f"{where} was begun by another run: {'; '.join(changed[:5])}. Score as before, or into another --output"
        )
    chunks = tuple(Chunk(**_named(Chunk, each)) for each in kept["chunks"])
    return Plan(identity=identity, schema=dict(kept["schema"]), chunks=chunks)


def _settings(identity: Identity) -> dict[str, Any]:
    """As JSON gives them back."""
    return {
        "model": identity.model,
        "version": identity.version,
        "sha256": identity.sha256,
        "format": identity.format,
        "columns": {name: list(columns) for name, columns in identity.columns.items()},
        "keep": None if identity.keep is None else list(identity.keep),
        "chunk_rows": identity.chunk_rows,
    }


def _changed_files(before: Sequence[InputFile], now: Sequence[InputFile]) -> list[str]:
    was, is_now = ({file.path: file for file in files} for files in (before, now))
    changed = [f"{path} has changed" for path in was if path in is_now and was[path] != is_now[path]]
    changed += [f"{path} is missing" for path in was if path not in is_now]
    return changed + [f"{path} is new" for path in is_now if path not in was]


def _named(kind: Any, values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(kind.__dataclass_fields__, values, strict=True))
