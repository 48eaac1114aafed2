"""Which model scores: a name under the directory or URL of all artifacts, or the directory of one version."""

from dataclasses import dataclass
from pathlib import Path

from deployments.errors import ScoringError
from deployments.offline.storage import absolute
from deployments.replicas.node_cache import LocalCopy
from deployments.replicas.source import find
from deployments.settings import ModelSettings, parse
from optimization.artifact.store import MANIFEST, load, sha256


@dataclass(frozen=True, kw_only=True)
class Model:
    """Where each node finds it."""

    name: str
    version: str
    sha256: str
    """Of its manifest."""
    settings: ModelSettings | None
    """Names its source; none where it is the directory `path`."""
    path: Path | None

    def fetched(self) -> LocalCopy:
        """Its directory on this node.

        Raises:
            ArtifactError: it is not there, or damaged.
        """
        if self.path is not None:
            return LocalCopy(path=self.path)
        assert self.settings is not None
        return self.settings.source().fetch(self.version)


def model(named: str, artifacts: str, version: str | None) -> Model:
    """The model that `named` means; its newest version if none is given.

    Raises:
        ArtifactError: it is not published, or damaged.
        SettingsError: the name or the source cannot be one.
        ScoringError: a directory of one version is named, and another version.
    """
    path = Path(named)
    if (path / MANIFEST).is_file():
        artifact = load(path.resolve())
        found = artifact.manifest.version
        if version not in (None, found):
            raise ScoringError(f"--version must be {found}, which {named} holds, got {version}")
        return _model(artifact.path, path=artifact.path, settings=None)
    given = {"artifact": named, "artifacts": absolute(artifacts), **({"version": version} if version else {})}
    settings = parse(ModelSettings, given, "score")
    source = settings.source()
    with source.fetch(find(source, version)) as copy:
        return _model(copy.path, path=None, settings=settings)


def _model(folder: Path, *, path: Path | None, settings: ModelSettings | None) -> Model:
    manifest = load(folder).manifest
    return Model(
        name=manifest.name,
        version=manifest.version,
        sha256=sha256(folder / MANIFEST),
        settings=settings,
        path=path,
    )
