"""Sampled rows, counted into the bins of the manifest's reference and reported, so that replicas add up."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.oip.tensors import Array
from optimization.artifact.manifest import Manifest
from optimization.artifact.reference.distribution import Distribution
from optimization.artifact.reference.reference import Reference, problems
from optimization.artifact.reference.views import Columns, Views
from telemetry import conventions
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter

Prepare = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Makes the model's own tensors of raw input, and leaves those as they are."""


class Sketches:
    """Counts rows of one version."""

    def __init__(self, manifest: Manifest, reference: Reference, views: Views, emitter: Emitter) -> None:
        self._reference = reference
        self._views = views
        self._rows = emitter.bin_counts(conventions.DRIFT_ROWS)
        self._problems = emitter.counter(conventions.DATA_PROBLEMS)
        self._version: Attributes = ((conventions.MODEL_VERSION, manifest.version),)
        for each in (*reference.inputs, *reference.outputs):
            self._count(each, np.zeros(each.num_bins, np.int64))

    def count(self, tensors: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Count rows: the model's tensors, and its outputs."""
        asked = self._views.inputs(tensors)
        columns: Columns = asked | self._views.outputs(outputs)
        for each in (*self._reference.inputs, *self._reference.outputs):
            if each.name in columns:
                self._count(each, each.count(columns[each.name]))
        if asked.keys() >= {each.name for each in self._reference.inputs}:
            self._judge(asked)

    def _judge(self, asked: Columns) -> None:
        """Count rows that have a problem, and rows that have none."""
        num_rows = len(next(iter(asked.values()), ()))
        found = problems(self._reference.inputs, asked)
        for (column, problem), rows in found.items():
            at = ((conventions.DATA_PROBLEM, problem), (conventions.WATCHED, column))
            self._problems.add(int(rows.sum()), (*self._version, *at))
        for problem, expected in self._reference.num_problems.items():
            wrong = np.zeros(num_rows, np.bool_)
            for (_, kind), rows in found.items():
                if kind == problem:
                    wrong |= rows
            self._rows.add(
                (0.5,),
                (num_rows - int(wrong.sum()), int(wrong.sum())),
                self._attributes(problem, "losses", (self._reference.num_rows - expected, expected)),
            )

    def _count(self, each: Distribution, counts: NDArray[np.int64]) -> None:
        self._rows.add(each.bounds, counts.tolist(), self._attributes(each.name, each.kind, each.counts))

    def _attributes(self, name: str, kind: str, counts: tuple[int, ...]) -> Attributes:
        return (
            *self._version,
            (conventions.WATCHED, name),
            (conventions.WATCHED_KIND, kind),
            (conventions.REFERENCE_COUNTS, ",".join(map(str, counts))),
        )
