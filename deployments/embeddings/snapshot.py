"""A table on disk or at a URL: parts by each shard, and last a manifest, without which a snapshot is not there.

    <url>/<table>/<time>/{<shard>-<part>.safetensors, ..., manifest.json}

Rows may change while a snapshot is taken: each is as it was at some moment since the snapshot began.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import fsspec
import numpy as np
import safetensors.numpy

from deployments.embeddings.adagrad import Sums
from deployments.embeddings.initial import Part
from deployments.embeddings.owners import NUM_BUCKETS, Buckets
from deployments.embeddings.table import DTYPES, Table, Values, Versions

MANIFEST = "manifest.json"
KEEP = 2
"""Snapshots of a table that are kept."""
PART_BYTES = 32 * 2**20


class SnapshotError(Exception):
    """A snapshot cannot be written or read; what is served, and the snapshots before, stay as they were."""


@dataclass(frozen=True, kw_only=True)
class PartFile:
    """A file of a snapshot."""

    name: str
    buckets: list[int]
    size_bytes: int
    sha256: str


def folder(url: str, table: Table, now: datetime | None = None) -> str:
    """Where a snapshot that is begun now belongs."""
    return f"{url.rstrip('/')}/{table.name}/{(now or datetime.now(UTC)):%Y%m%dT%H%M%S%f}"


def write_part(
    into: str, name: str, table: Table, buckets: Buckets, values: Values, versions: Versions, sums: Sums | None = None
) -> PartFile:
    """Write the rows of `buckets`, one bucket after the other, and Adagrad's sums where they were trained.

    Raises:
        SnapshotError: it cannot be written, as where the disk is full.
    """
    raw = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), table.width * DTYPES[table.dtype].itemsize)
    trained = {} if sums is None else {"sums": sums}
    content = safetensors.numpy.save({"buckets": buckets, "rows": raw, "versions": versions, **trained})
    _write(f"{into}/{name}", content)
    digest = hashlib.sha256(content).hexdigest()
    return PartFile(name=name, buckets=buckets.tolist(), size_bytes=len(content), sha256=digest)


def complete(into: str, table: Table, parts: list[PartFile]) -> None:
    """Make the snapshot valid, and remove those that are too many.

    Raises:
        SnapshotError: parts are missing, or the manifest cannot be written.
    """
    covered = sorted(bucket for part in parts for bucket in part.buckets)
    if covered != list(range(NUM_BUCKETS)):
        raise SnapshotError(
            f"a snapshot of table {table.name!r} must have each of {NUM_BUCKETS} buckets once: try again"
        )
    _write(
        f"{into}/{MANIFEST}", json.dumps({"table": asdict(table), "parts": [asdict(each) for each in parts]}).encode()
    )
    files, home = fsspec.url_to_fs(into.rpartition("/")[0])
    for old in [
        each
        for each in _snapshots(files, home)
        if f"{each}/{MANIFEST}" != f"{home}/{into.rpartition('/')[2]}/{MANIFEST}"
    ][: -(KEEP - 1)]:
        files.rm(old, recursive=True)


def discard(into: str) -> None:
    """Remove what there is of a snapshot that did not come to its end."""
    files, path = fsspec.url_to_fs(into)
    if files.exists(path):
        files.rm(path, recursive=True)


def newest(url: str, table: Table) -> str | None:
    """Where the last valid snapshot of the table is, if there is one.

    Raises:
        SnapshotError: that cannot be told.
    """
    files, home = fsspec.url_to_fs(f"{url.rstrip('/')}/{table.name}")
    found = _snapshots(files, home)
    return files.unstrip_protocol(found[-1]) if found else None


def read(snapshot: str, table: Table, buckets: Buckets) -> Iterator[Part]:
    """The rows of `buckets`, with their versions.

    Raises:
        SnapshotError: the snapshot is damaged, or one of another table.
    """
    manifest = json.loads(_read(f"{snapshot}/{MANIFEST}"))
    if manifest["table"] != asdict(table):
        raise SnapshotError(
            f"{snapshot} must be of {asdict(table)}, got {manifest['table']}: remove it or mend the settings"
        )
    wanted = set(buckets.tolist())
    for part in (PartFile(**each) for each in manifest["parts"]):
        if wanted.isdisjoint(part.buckets):
            continue
        content = _read(f"{snapshot}/{part.name}")
        if len(content) != part.size_bytes or hashlib.sha256(content).hexdigest() != part.sha256:
            raise SnapshotError(
                f"{snapshot}/{part.name} must have sha256 {part.sha256}: it is damaged; remove the snapshot"
            )
        tensors = safetensors.numpy.load(content)
        ids = np.concatenate([table.ids_of(bucket) for bucket in tensors["buckets"].tolist()])
        yield Part(ids, tensors["rows"].view(DTYPES[table.dtype]), tensors["versions"], tensors.get("sums"))


def _snapshots(files: Any, home: str) -> list[str]:
    """Valid ones, oldest first."""
    try:
        files.invalidate_cache()
        found = files.ls(home, detail=False) if files.exists(home) else []
        return sorted(each.rstrip("/") for each in found if files.exists(f"{each.rstrip('/')}/{MANIFEST}"))
    except Exception as error:  # each file system raises errors of its own
        raise SnapshotError(f"{home} must be readable: {type(error).__name__}: {error}") from error


def _write(url: str, content: bytes) -> None:
    """Write a whole file or none: under another name first, where a file may be seen half written."""
    try:
        files, path = fsspec.url_to_fs(url)
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        files.pipe_file(f"{path}.part", content)
        files.mv(f"{path}.part", path)
    except Exception as error:
        raise SnapshotError(f"{url} must be writable: {type(error).__name__}: {error}") from error


def _read(url: str) -> bytes:
    try:
        files, path = fsspec.url_to_fs(url)
        content: bytes = files.cat_file(path)
    except Exception as error:
        raise SnapshotError(f"{url} must be readable: {type(error).__name__}: {error}") from error
    return content
