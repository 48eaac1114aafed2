"""`push ARTIFACT` and `withdraw NAME/VERSION`: versions put into the running cluster; docs/operations.md has more."""

from pathlib import Path

from rich.console import Console

from deployments.errors import SettingsError
from deployments.pushed import push
from deployments.pushed.catalogue import Catalogue
from deployments.pushed.push import Pushed, Stores
from optimization.artifact import store
from optimization.artifact.store import MANIFEST


def pushed(artifact: Path, stores: Stores, catalogue: Catalogue, mb_per_s: float) -> Pushed:
    """Push the version in the directory `artifact`, or the newest of those in it.

    Raises:
        ArtifactError: it is missing or damaged, its number belongs to other bytes, or no second node can hold it.
    """
    is_version = (artifact / MANIFEST).is_file()
    path = artifact if is_version else store.find(artifact.parent, artifact.name)
    return push.push(path, stores, catalogue, mb_per_s)


def withdrawn(named: str, stores: Stores, catalogue: Catalogue) -> None:
    """Withdraw `<name>/<version>`.

    Raises:
        SettingsError: that is not its form.
        ArtifactError: it is not announced.
    """
    name, _, version = named.rpartition("/")
    if not name:
        raise SettingsError(f"a pushed version is NAME/VERSION, got {named!r}")
    push.withdraw(name, version, stores, catalogue)


def show(console: Console, found: Pushed) -> None:
    """What was acknowledged."""
    nodes = len(found.nodes)
    where = f"{nodes} nodes" if nodes > 1 else "this node alone; the next one that joins gets a copy"
    console.print(
        f"{found.name} version {found.version} is announced: {found.size_bytes / 1e6:.1f} MB on {where}", soft_wrap=True
    )
