"""Ray's object store on this node, read off the file that it maps: its process is the parent of Ray's workers."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from telemetry.conventions import OBJECT_STORE_LIMIT, OBJECT_STORE_USAGE
from telemetry.emitting.emitter import Emitter

_NAME = "plasma"
_BLOCK_BYTES = 512
"""Of `st_blocks`, whatever the file system (stat(2))."""


def observe(emitter: Emitter) -> None:
    """Report it with every export, where this process is a worker of Ray's on Linux."""
    files = list(_files())
    if files:
        emitter.gauge(OBJECT_STORE_USAGE, lambda: {(): sum(file.stat().st_blocks * _BLOCK_BYTES for file in files)})
        emitter.gauge(OBJECT_STORE_LIMIT).set(sum(file.stat().st_size for file in files))


def _files() -> Iterator[Path]:
    with suppress(OSError, psutil.Error):
        parent = psutil.Process().parent()
        if parent is None or parent.name() != "raylet":
            return
        known = set()
        for descriptor in Path(f"/proc/{parent.pid}/fd").iterdir():
            with suppress(OSError):
                target, file = descriptor.readlink(), descriptor.stat()
                if target.name.startswith(_NAME) and file.st_ino not in known:
                    known.add(file.st_ino)
                    yield descriptor
