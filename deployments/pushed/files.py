"""What was pushed into the cluster, as a file system that fsspec reads: `cluster:///<name>/<version>/<file>`."""

import os
import shutil
from typing import Any

from fsspec import AbstractFileSystem

from deployments.pushed import actors
from deployments.pushed.actors import RayStores
from deployments.pushed.catalogue import Catalogue
from optimization.artifact import store
from optimization.artifact.store import MANIFEST


class ClusterFiles(AbstractFileSystem):  # type: ignore[misc]
    """Lists and reads announced versions; `get_file` brings the whole version to this node, once."""

    protocol = "cluster"
    cachable = False
    """Another cluster has other files."""

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """The versions of a model.

        Raises:
            FileNotFoundError: none was pushed.
        """
        name = self._strip_protocol(path).strip("/")
        versions = _catalogue().versions(name)
        if not versions:
            raise FileNotFoundError(path)
        return [
            {"name": f"{name}/{each}", "type": "directory", "size": 0} if detail else f"{name}/{each}"
            for each in versions
        ]

    def cat_file(self, path: str, **_: Any) -> bytes:
        """A version's manifest.

        Raises:
            FileNotFoundError: it was not pushed.
        """
        name, version, file = self._parts(path)
        found = _catalogue().find(name, version)
        if found is None or file != MANIFEST:
            raise FileNotFoundError(path)
        return found.manifest.encode()

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        """A file of a version, as a link to what this node's store holds.

        Raises:
            FileNotFoundError: it was not pushed.
            PeerError: no node gives it.
        """
        name, version, file = self._parts(rpath)
        found = _catalogue().find(name, version)
        if found is None:
            raise FileNotFoundError(rpath)
        stores = RayStores()
        source = store.inside(stores.fetch(stores.here, found), file)
        if store.sha256(source) != found.files[file].sha256:  # it was damaged on this node's disk
            stores.release(stores.here, found.key)
            source = store.inside(stores.fetch(stores.here, found), file)
        try:
            os.link(source, lpath)
        except OSError:  # on another file system
            shutil.copyfile(source, lpath)

    def _parts(self, path: str) -> tuple[str, str, str]:
        name, version, file = self._strip_protocol(path).strip("/").split("/", 2)
        return name, version, file


def _catalogue() -> Catalogue:
    actors.connect()
    return actors.catalogue()
