"""The artifact: a directory `<root>/<name>/<version>/` with one graph or several, a manifest and what raw input needs.

    publish:  files + Manifest -> temporary directory -> one rename -> artifacts/<name>/<version>/
    load:     directory -> manifest checked -> path, size, sha256 of every file checked -> Artifact, or a part of it

Everything is JSON or ONNX; nothing is ever unpickled.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from optimization.artifact.manifest import NAME_PATTERN, SCHEMA_VERSION, FileEntry, Manifest

MANIFEST = "manifest.json"
MODEL = "model.onnx"
REPORT = "report.html"
"""What was found, for people; an artifact need not have one."""
EXAMPLE = "example.json"
"""A request to try, as the Open Inference Protocol wants it; an artifact need not have one."""


class ArtifactError(Exception):
    """An artifact is missing, damaged, or not one this version can read."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A verified artifact on disk."""

    path: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The ONNX file of an artifact of one graph.

        Raises:
            ArtifactError: it has several.
        """
        graphs = self.manifest.graphs
        if len(graphs) > 1:
            files = ", ".join(part.file for part in graphs)
            raise ArtifactError(
                f"artifact {self.manifest.name!r} must have one graph to be run as one model, got the parts {files}"
            )
        return self.path / graphs[0].file

    def part(self, number: int) -> "Artifact":
        """That part as an artifact of its own, in the same directory; the first is 1.

        Raises:
            ArtifactError: there is no such part.
        """
        return Artifact(path=self.path, manifest=_of_part(self.manifest, number))


def publish(
    root: Path,
    files: Mapping[str, Path],
    pages: Mapping[str, Callable[[Manifest], str]] | None = None,
    *,
    check: Callable[[Artifact], None] = lambda _staged: None,
    **fields: Any,
) -> Artifact:
    """Copy `files` and a manifest made of `fields` into the next version of the artifact `fields["name"]`.

    `files` maps names inside the artifact to the files to copy, `pages` to what writes a text of the manifest. A reader
    sees the whole version or none of it. `check` is given the version before anyone can see it; where it raises, nobody
    ever will.

    Raises:
        ArtifactError: the model lacks, or a field breaks the schema.
    """
    if MODEL not in files and not fields.get("parts"):
        raise ArtifactError(f"an artifact needs the file {MODEL!r}, got {sorted(files)}")
    name = fields.get("name")
    if not isinstance(name, str) or not re.match(NAME_PATTERN, name):
        raise ArtifactError(f"artifact name must match {NAME_PATTERN}, got {name!r}")
    home = root / name
    home.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".publishing-", dir=home))
    try:
        for each, source in files.items():
            target = inside(staging, each)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        entries = {each: _entry(inside(staging, each)) for each in files}
        while True:
            version = str(max(versions(root, name), default=0) + 1)
            known = {
                "schema_version": SCHEMA_VERSION,
                "created": datetime.now(UTC),
                **fields,
                "version": version,
                "signatures": (),
            }
            for page, write in (pages or {}).items():
                target = inside(staging, page)
                target.write_text(write(_manifest(known | {"files": entries}, home / version)), encoding="utf-8")
                entries[page] = _entry(target)
            manifest = _manifest(known | {"files": entries}, home / version)
            (staging / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
            check(Artifact(path=staging, manifest=manifest))
            try:
                staging.rename(home / version)
            except OSError:
                if (home / version).exists():  # another publisher was faster: take the next number
                    continue
                raise
            (home / version).chmod(0o755)
            return Artifact(path=home / version, manifest=manifest)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def versions(root: Path, name: str) -> list[int]:
    """Published versions of `name` under `root`, oldest first."""
    home = root / name
    if not home.is_dir():
        return []
    found = (entry.name for entry in home.iterdir() if (entry / MANIFEST).is_file())
    return sorted(int(version) for version in found if re.match(r"^[1-9][0-9]*$", version))


def find(root: Path, name: str, version: str | None = None) -> Path:
    """Directory of `name` at `version`, or of its newest version.

    Raises:
        ArtifactError: there is none.
    """
    known = versions(root, name)
    if not known:
        raise ArtifactError(f"artifact {name!r} is missing: no version of it under {(root / name).absolute()}")
    if version is None:
        return root / name / str(known[-1])
    if version not in map(str, known):
        raise ArtifactError(f"artifact {name!r} has no version {version!r}, only {', '.join(map(str, known))}")
    return root / name / version


def load(path: Path, part: int | None = None) -> Artifact:
    """Read the artifact in the directory `path` and check every file against the manifest.

    With `part`, that part of it, the first being 1, as an artifact of its own: other parts' files may be missing.

    Raises:
        ArtifactError: a file is missing, truncated, altered or outside the artifact, the manifest cannot be read, or
            there is no such part.
    """
    source = path / MANIFEST
    try:
        raw = source.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{source} cannot be read: {error.strerror or error}") from error
    manifest = parse_manifest(raw, source)
    if part is not None:
        manifest = _of_part(manifest, part)
    for name, expected in manifest.files.items():
        _check(inside(path, name), expected)
    return Artifact(path=path, manifest=manifest)


def parse_manifest(raw: bytes, source: Path | str) -> Manifest:
    """The manifest that `source` holds as `raw`; the files it lists are not looked at.

    Raises:
        ArtifactError: it is not one this version can read.
    """
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{source} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{source} must hold a JSON object, got {type(content).__name__}")
    found = content.get("schema_version")
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise ArtifactError(
            f"{source} has schema version {found}, this Trimtab reads up to {SCHEMA_VERSION}: update Trimtab"
        )
    if found != SCHEMA_VERSION:
        raise ArtifactError(f"{source}: schema_version must be {SCHEMA_VERSION}, got {found!r}")
    manifest = _manifest(content, source)
    for part in manifest.graphs:
        for name in part.files:
            if name not in manifest.files:
                raise ArtifactError(f"{source} does not list {name!r}")
    return manifest


def _of_part(manifest: Manifest, number: int) -> Manifest:
    num_parts = len(manifest.graphs)
    if not 1 <= number <= num_parts:
        known = "one part, 1" if num_parts == 1 else f"the parts 1 to {num_parts}"
        raise ArtifactError(f"artifact {manifest.name!r} has {known}, got part {number}")
    return manifest.of_part(number)


def _manifest(raw: Mapping[str, Any], path: Path | str) -> Manifest:
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ArtifactError(f"manifest of {path} breaks the schema: {problems}") from error


def inside(root: Path, name: str) -> Path:
    """`root / name`.

    Raises:
        ArtifactError: it would leave `root`, by `..`, an absolute path or a link.
    """
    parts = PurePosixPath(name).parts
    target = root.joinpath(*parts)
    escapes = not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or "\0" in name
    if escapes or not target.resolve().is_relative_to(root.resolve()):
        raise ArtifactError(f"file {name!r} must lie inside the artifact {root}")
    return target


def _entry(path: Path) -> FileEntry:
    return FileEntry(size_bytes=path.stat().st_size, sha256=sha256(path))


def _check(path: Path, expected: FileEntry) -> None:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing")
    size = path.stat().st_size
    if size != expected.size_bytes:
        raise ArtifactError(f"{path} must have {expected.size_bytes} bytes, got {size}: truncated or altered")
    digest = sha256(path)
    if digest != expected.sha256:
        raise ArtifactError(f"{path} must have sha256 {expected.sha256}, got {digest}: damaged or altered")


def sha256(path: Path) -> str:
    """Digest of a file, as manifests have it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
