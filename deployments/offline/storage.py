"""Where files lie: a path or URL, by fsspec; each file system raises errors of its own, here they become one."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from deployments.errors import ScoringError
from deployments.replicas.source import checked, is_url

TAGS = ("mtime", "ETag", "etag", "LastModified", "last_modified", "Last-Modified", "updated")
"""What file systems call that which changes when a file does."""
_BUFFER_BYTES = 2**20


def located(url: str) -> tuple[Any, str]:
    """The file system of `url`, and its path there.

    Raises:
        ScoringError: this installation cannot read it.
    """
    try:
        found: tuple[Any, str] = fsspec.url_to_fs(checked(url))
    except (ValueError, ImportError) as error:
        raise ScoringError(f"{url} cannot be used: {error}") from error
    return found


def absolute(url: str) -> str:
    """`url`, or the path from the root: workers may run in another directory."""
    return url if is_url(url) else str(Path(url).absolute())


@contextmanager
def reading(files: Any, path: str) -> Iterator[BinaryIO]:
    """The file, open; of a URL, a piece at a time is fetched.

    Raises:
        ScoringError: it cannot be opened.
    """
    with unreadable(path):
        file = _opened(files, path)
    with file:
        yield file


@contextmanager
def unreadable(path: str) -> Iterator[None]:
    """What the block raises, as an error that names the file.

    Raises:
        ScoringError: the block failed.
    """
    try:
        yield
    except ScoringError:
        raise
    except Exception as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise ScoringError(f"{path} cannot be read: {told}") from error


def is_local(files: Any) -> bool:
    """Whether it is this machine's file system, which can rename and lock."""
    protocol = files.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def _opened(files: Any, path: str) -> BinaryIO:
    if is_local(files):
        return Path(path).open("rb")
    return io.BufferedReader(files.open(path, "rb"), _BUFFER_BYTES)
