"""Where a model's versions come from: a directory, which is read in place, or a URL, which each node copies from once.

    <directory or URL>/<name>/<version>/{manifest.json, model.onnx, ...}

`cluster://` is what was pushed into the cluster itself (`deployments.pushed`); here it is a URL like any other.

Of a URL, `manifest.json` is read first and named by its digest, so that another artifact under an old number is fetched
anew. Whoever puts a version there puts the manifest last: without it, it is not there yet.
"""

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import fsspec

from deployments.replicas.node_cache import LocalCopy, NodeCache
from optimization.artifact import signature, store
from optimization.artifact.store import MANIFEST, ArtifactError

logger = logging.getLogger(__name__)

CONNECT_S = 10.0
SILENCE_S = 30.0
"""An HTTP source that sends nothing for so long is given up, until the next try."""

ARTIFACTS = "TRIMTAB_ARTIFACTS"
"""The environment's `artifacts`, for applications whose `args` name none: one source for a whole cluster."""
CLUSTER = "cluster://"
"""The URL of what is pushed into the cluster that runs."""

_VERSION = re.compile(r"[1-9][0-9]*")
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


class SourceError(ArtifactError):
    """The source does not answer as it should; it may do so later."""


class Source(Protocol):
    """The versions of one model."""

    name: str
    where: str
    """For people: the directory or URL."""

    def versions(self) -> list[str]:
        """What is published, oldest first.

        Raises:
            SourceError: that cannot be told now.
        """

    def fetch(self, version: str) -> LocalCopy:
        """That version's directory on this node.

        Raises:
            ArtifactError: there is no such version, or it is damaged.
        """

    def files(self, version: str, /) -> object:
        """What changes when somebody mends the version's files; always the same where asking costs."""


def source(artifacts: str, name: str, cache: NodeCache, *, signed_by: tuple[str, ...] = ()) -> Source:
    """The source of the model `name` under `artifacts`, a directory or a URL; `cache` holds what comes from a URL.

    With public keys in `signed_by` it gives no version that none of them has signed; a directory is copied then, as a
    URL is, so that nobody can alter what was checked.
    """
    if signed_by:
        url = artifacts if is_url(artifacts) else Path(artifacts).absolute().as_uri()
        return Signed(Remote(url, name, cache), signed_by)
    return Remote(artifacts, name, cache) if is_url(artifacts) else Directory(Path(artifacts), name)


def find(source: Source, version: str | None = None) -> str:
    """`version`, or the newest one, if it is published.

    Raises:
        ArtifactError: it is not.
    """
    known = source.versions()
    if not known:
        raise ArtifactError(f"artifact {source.name!r} is missing: no version of it under {source.where}")
    if version is not None and version not in known:
        raise ArtifactError(f"artifact {source.name!r} has no version {version!r}, only {', '.join(known)}")
    return version or known[-1]


def published(source: Source, version: str | None = None) -> LocalCopy:
    """The directory of `version`, or of the newest one, on this node.

    Raises:
        ArtifactError: it is not published, or damaged.
    """
    return source.fetch(find(source, version))


def is_url(artifacts: str) -> bool:
    """Whether `artifacts` names a URL and no directory."""
    return "://" in artifacts


def default() -> str:
    """The environment's source, or the directory `artifacts`."""
    return os.environ.get(ARTIFACTS) or "artifacts"


def checked(artifacts: str) -> str:
    """`artifacts`, if this installation can read it.

    Raises:
        ValueError: it cannot; the message says what to do.
    """
    if not is_url(artifacts):
        return artifacts
    if artifacts == CLUSTER:  # its file system needs Ray, which is not imported just to read settings
        return artifacts
    parts = urlsplit(artifacts)
    if parts.scheme == "cluster":
        raise ValueError(f"what is pushed into the cluster is at {CLUSTER}, with nothing behind it")
    if parts.username or parts.query or parts.fragment:
        raise ValueError("a URL must have no user, query or fragment: credentials belong into the environment")
    try:
        fsspec.get_filesystem_class(parts.scheme)
    except ImportError as error:
        package = _PACKAGES.get(parts.scheme, str(error))
        raise ValueError(f"{parts.scheme}:// needs another package: pip install {package}") from error
    except ValueError as error:
        raise ValueError(f"fsspec knows no {parts.scheme}://") from error
    return artifacts


class Directory:
    """A directory that this node sees, its own or a network's."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.where = str((root / name).absolute())
        self._root = root

    def versions(self) -> list[str]:
        """The versions whose manifest is there."""
        return [str(version) for version in store.versions(self._root, self.name)]

    def fetch(self, version: str) -> LocalCopy:
        """The directory itself."""
        return LocalCopy(path=store.find(self._root, self.name, version))

    def files(self, version: str, /) -> object:
        """Names, sizes and times."""
        found = sorted(entry for entry in (self._root / self.name / version).rglob("*") if entry.is_file())
        return tuple((str(entry), entry.stat().st_size, entry.stat().st_mtime_ns) for entry in found)


class Remote:
    """A URL that fsspec can list and read."""

    def __init__(self, url: str, name: str, cache: NodeCache) -> None:
        self.name = name
        self.where = f"{url}/{name}" if url == CLUSTER else f"{url.rstrip('/')}/{name}"
        self._cache = cache
        fsspec.register_implementation("cluster", "deployments.pushed.files.ClusterFiles")
        self._files, self._home = fsspec.url_to_fs(self.where, **_options(url))
        self._url_digest = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:8]
        self._whole: set[str] = set()

    def versions(self) -> list[str]:
        """The versions that the source lists, but for the newest ones as long as they lack their manifest."""
        listed = self._listed()
        self._whole &= listed
        known = sorted(listed, key=int)
        while known and known[-1] not in self._whole:
            if self._manifest(known[-1]) is None:
                known.pop()
            else:
                self._whole.add(known[-1])
        return known

    def fetch(self, version: str) -> LocalCopy:
        """A copy in this node's cache; the one that was fetched before, where the source does not answer."""
        try:
            manifest = self._manifest(version)
        except SourceError:
            copy = self._cache.held(self._key(version))
            if copy is None:
                raise
            logger.warning("model %r: %s does not answer; version %s is an older copy", self.name, self.where, version)
            return copy
        if manifest is None:
            raise ArtifactError(f"artifact {self.name!r} has no version {version!r} at {self.where}")
        described = store.parse_manifest(manifest, f"{self.where}/{version}/{MANIFEST}").files
        digest = hashlib.sha256(manifest).hexdigest()[:16]

        def download(into: Path) -> None:
            (into / MANIFEST).write_bytes(manifest)
            for name, expected in described.items():
                self._download(f"{version}/{name}", store.inside(into, name), expected.size_bytes)

        size_bytes = len(manifest) + sum(expected.size_bytes for expected in described.values())
        try:
            return self._cache.hold(f"{self._key(version)}{digest}", size_bytes, download)
        except SourceError:
            raise
        except ArtifactError as error:
            raise ArtifactError(f"{self.where}/{version}: {error}") from error

    def files(self, _: str, /) -> object:
        """Nothing: it is tried again after a while."""
        return None

    def _listed(self) -> set[str]:
        try:
            self._files.invalidate_cache()
            entries = self._files.ls(self._home, detail=False)
        except FileNotFoundError:
            return set()
        except Exception as error:  # each file system raises errors of its own
            raise self._unreachable(error) from error
        names = (entry.rstrip("/").rpartition("/")[2] for entry in entries)
        return {name for name in names if _VERSION.fullmatch(name)}

    def _manifest(self, version: str) -> bytes | None:
        try:
            found: bytes = self._files.cat_file(f"{self._home}/{version}/{MANIFEST}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unreachable(error) from error
        return found

    def _download(self, name: str, target: Path, size_bytes: int) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._files.get_file(f"{self._home}/{name}", str(target), callback=_at_most(size_bytes, name))
        except (ArtifactError, MemoryError):
            raise
        except FileNotFoundError as error:
            raise ArtifactError(f"{name} is missing, which the manifest lists") from error
        except Exception as error:
            raise self._unreachable(error) from error

    def _key(self, version: str) -> str:
        return f"{self._url_digest}.{self.name}.{version}."

    def _unreachable(self, error: Exception) -> SourceError:
        return SourceError(f"{self.where} must be readable: {type(error).__name__}: {error}")


class Signed:
    """A source whose versions are given only where one of these keys has signed them."""

    def __init__(self, source: Source, signed_by: tuple[str, ...]) -> None:
        self.name, self.where = source.name, source.where
        self._source, self._signed_by = source, signed_by

    def versions(self) -> list[str]:
        """Those of the source, signed or not."""
        return self._source.versions()

    def fetch(self, version: str) -> LocalCopy:
        """That version's directory; SignatureError where it is not signed as it must be."""
        copy = self._source.fetch(version)
        try:
            signature.check(copy.path, self._signed_by, name=self.name, version=version)
        except ArtifactError:
            copy.release()
            raise
        return copy

    def files(self, version: str, /) -> object:
        """Those of the source."""
        return self._source.files(version)


def _at_most(num_bytes: int, name: str) -> fsspec.Callback:
    """Ends a download that brings more than the manifest says."""

    def check(_: int | None, value: int) -> None:
        if value > num_bytes:
            raise ArtifactError(f"{name} must have {num_bytes} bytes, got more: altered")

    return fsspec.Callback(hooks={"at most": check})


def _options(url: str) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        return {}
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    return {"client_kwargs": {"timeout": timeout}}
