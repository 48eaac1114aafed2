"""A copy of what a collector keeps, and of rollouts, made while they run; and the folders of such a copy.

    journal opened -> telemetry.sqlite -> documents.sqlite -> journal read, with what came since -> rollouts -> manifest

The database names the place in the journal that it reaches to. Files of the journal that were there before it was
copied stay open, so that what it does not hold is in the copy, though the collector removes them meanwhile. A copy is
thus what a collector leaves that is killed: one that starts with it goes on from there.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from telemetry.journal.journal import LOCK
from telemetry.journal.reader import PLACE_SUFFIX
from telemetry.journal.segment import SUFFIX
from telemetry.storage.data_folder import DOCUMENTS, JOURNAL
from telemetry.storage.errors import StorageError
from telemetry.storage.storage import FILE
from telemetry.storage.versions import VERSION, refuse_newer

MANIFEST, TELEMETRY, ROLLOUTS = "manifest.json", "telemetry", "rollouts"
FORMAT = 1
_PIECE = 2**20
_LINES = ".jsonl"
"""Files that grow line by line; what stands after the last whole line is not taken."""

Say = Callable[[str], None]


def back_up(data_dir: Path, out: Path, rollouts: Path | None = None, say: Say = lambda _: None) -> dict[str, Any]:
    """Copy the folders to the new folder `out`, which is there as a whole or not at all; return its manifest.

    Raises:
        StorageError: there is nothing to copy, a newer release has written it, or `out` cannot be written or exists.
    """
    if not (data_dir / FILE).exists():
        raise StorageError(f"--data-dir must be a collector's folder, got {data_dir}: it has no {FILE}")
    if out.exists():
        raise StorageError(f"--out must be a new folder, got {out}, which exists")
    for name in (FILE, DOCUMENTS):
        refuse_newer(data_dir / name)
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        _copy_collector(data_dir, partial / TELEMETRY, say)
        if rollouts is not None and rollouts.is_dir():
            say(f"copying {rollouts}")
            _copy_files(rollouts, partial / ROLLOUTS)
        manifest = {
            "format": FORMAT,
            "state": VERSION,
            "release": version("trimtab"),
            "made_s": round(time.time(), 3),
            "files": {path.relative_to(partial).as_posix(): _described(path) for path in _files(partial)},
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2))
        partial.rename(out)
    except OSError as error:
        raise StorageError(f"--out must be a folder with room for a copy, got {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def restore(backup: Path, data_dir: Path, rollouts: Path, say: Say = lambda _: None) -> dict[str, Any]:
    """Make the folders that `backup` was made of; return its manifest. Nothing is written unless all of it is whole.

    Raises:
        StorageError: it is no backup, altered, or of a newer release; or a folder is not empty or cannot be written.
    """
    manifest = _manifest(backup)
    for name, described in manifest["files"].items():
        say(f"checking {name}")
        path = backup / name
        if not path.is_file() or _described(path) != described:
            raise StorageError(f"{path} must be as its backup was made, got another file: it was altered or cut short")
    folders = {TELEMETRY: data_dir, ROLLOUTS: rollouts}
    kept = {
        name: to for name, to in folders.items() if any(PurePosixPath(f).parts[0] == name for f in manifest["files"])
    }
    for to in kept.values():
        if to.exists() and any(to.iterdir()):
            raise StorageError(f"{to} must be empty or not there, so that nothing is lost: move it away first")
    for name, to in kept.items():
        say(f"writing {to}")
        partial = to.with_name(f"{to.name}.partial-{os.getpid()}")
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(backup / name, partial)
            if to.exists():
                to.rmdir()
            partial.rename(to)
        except OSError as error:
            raise StorageError(f"{to} must be a folder with room for the backup, got: {error.strerror}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _copy_collector(data_dir: Path, out: Path, say: Say) -> None:
    out.mkdir()
    (out / JOURNAL).mkdir()
    journal = data_dir / JOURNAL
    with contextlib.ExitStack() as open_files:
        for path in journal.glob(f"*{PLACE_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(path, out / JOURNAL / path.name)
        opened = _opened(journal, {}, open_files)
        for name in (FILE, DOCUMENTS):
            say(f"copying {data_dir / name}")
            _copy_database(data_dir / name, out / name)
        for path, file in _opened(journal, opened, open_files).items():
            say(f"copying {path}")
            with (out / JOURNAL / path.name).open("wb") as copy:
                shutil.copyfileobj(file, copy, _PIECE)


def _opened(journal: Path, opened: dict[Path, BinaryIO], open_files: contextlib.ExitStack) -> dict[Path, BinaryIO]:
    """`opened`, and the files of the journal that have come to be since."""
    found = dict(opened)
    for path in sorted(journal.glob(f"*{SUFFIX}")):
        if path not in found:
            with contextlib.suppress(FileNotFoundError):
                found[path] = open_files.enter_context(path.open("rb"))
    return found


def _copy_database(path: Path, out: Path) -> None:
    """All of it as it is at one moment; whoever writes to it goes on meanwhile.

    Raises:
        StorageError: it is damaged.
    """
    if not path.exists():
        return
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as source,
            contextlib.closing(sqlite3.connect(out)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without what belongs beside it
    except sqlite3.Error as error:
        raise StorageError(f"{path} must be whole and --out have room for it, got: {error}") from error


def _copy_files(folder: Path, out: Path) -> None:
    """The files of a folder; of those that grow line by line, the whole lines."""
    out.mkdir()
    for path in _files(folder):
        if path.name == LOCK or path.suffix == ".new":
            continue
        content = path.read_bytes()
        if path.suffix == _LINES:
            content = content[: content.rfind(b"\n") + 1]
        to = out / path.relative_to(folder)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(content)


def _manifest(backup: Path) -> dict[str, Any]:
    path = backup / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        format_, state, files = manifest["format"], manifest["state"], manifest["files"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StorageError(f"BACKUP must be a folder that `backup` made, got {backup}: {error}") from error
    if format_ > FORMAT or state > VERSION:
        raise StorageError(
            f"{backup} must have state version {VERSION} or an older one, got {state}, made by Trimtab "
            f"{manifest.get('release')}: restore it with that release"
        )
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise StorageError(f"{path} must name files of the backup, got {name!r}")
    return manifest


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
