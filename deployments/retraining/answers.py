"""What an artifact answers to rows, as classes: a teacher's labels, or how often a version is right."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from deployments.errors import SettingsError
from deployments.monitoring.answers import classes, is_classifier
from deployments.offline.model import model
from deployments.offline.scorer import Scorer
from deployments.oip.tensors import Array
from optimization.artifact.store import load
from telemetry.emitting.emitter import Emitter


class Answers:
    """A classifier's artifact, loaded in this process; used as a context."""

    def __init__(self, named: str, artifacts: str, version: str | None = None) -> None:
        """`named` is an artifact's name, of the newest version if none is given, or the directory of one version.

        Raises:
            ArtifactError: it is not published, or damaged.
            SettingsError: it tells no classes.
        """
        copy = model(named, artifacts, version).fetched()
        artifact = load(copy.path)
        self.manifest = artifact.manifest
        if not is_classifier(self.manifest):
            raise SettingsError(f"{named!r} must be a classifier: rows are compared by class")
        self._copy = copy
        self._scorer = Scorer(artifact, _silent_emitter(self.manifest.name, self.manifest.version))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._scorer.close()
        self._copy.release()

    def classes(self, rows: Mapping[str, Sequence[Array]]) -> list[int | None]:
        """The class of each row, none where the model refuses it."""
        num_rows = len(next(iter(rows.values())))
        errors: list[str | None] = [None] * num_rows
        outputs = self._scorer.answers({name: list(column) for name, column in rows.items()}, errors)
        good = [at for at in range(num_rows) if errors[at] is None]
        found: list[int | None] = [None] * num_rows
        if not good:
            return found
        first = self.manifest.outputs[0].name
        for at, label in zip(good, classes(self.manifest, {first: _stacked(outputs[first], good)}), strict=True):
            found[at] = int(label)
        return found

    def share_right(self, rows: Mapping[str, Sequence[Array]], labels: Sequence[int]) -> float:
        """How often it gives the label."""
        return float(np.mean([found == label for found, label in zip(self.classes(rows), labels, strict=True)]))


def _stacked(column: Sequence[Array | None], good: Sequence[int]) -> Array:
    return np.stack([np.asarray(column[at]) for at in good])


def _silent_emitter(name: str, version: str) -> Emitter:
    """Of calls that are no traffic nothing is reported."""
    return Emitter(service=f"{name}.retrain", version=version, role="retrain", instance="retrain", endpoint="none")
