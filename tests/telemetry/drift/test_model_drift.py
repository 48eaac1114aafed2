"""What is watched of a model, together."""

import json

import numpy as np
import pytest

from telemetry.drift.distances import ks, ks_by_chance, psi, psi_by_chance
from telemetry.drift.model_drift import ModelDrift
from tests.telemetry.drift.binned import binned, edges_of

NAMES = [f"x{column}" for column in range(10)]


class _Model:
    """Ten columns, of which rows are drawn."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        columns = self.random.normal(size=(1000, len(NAMES)))
        self.edges = [edges_of(column) for column in columns.T]
        self.drift = ModelDrift()
        for name, column, edges in zip(NAMES, columns.T, self.edges, strict=True):
            self.drift.watch(name, binned(column, edges))

    def serve(self, rows: int, **shifts: float) -> None:
        self.drift.take(
            {
                name: binned(self.random.normal(shifts.get(name, 0.0), size=rows), edges)
                for name, edges in zip(NAMES, self.edges, strict=True)
            }
        )


def test_the_column_that_has_shifted_is_named_and_no_other():
    model = _Model(1)
    for _ in range(20):
        model.serve(100)
    assert model.drift.drifted() == []
    model.serve(100, x3=1.0)
    assert [reading.name for reading in model.drift.drifted()] == ["x3"]
    assert model.drift.drifted()[0].drifted_rows == pytest.approx(100, abs=100)


def test_a_drift_lasts_as_long_as_rows_come_from_elsewhere_and_ends_when_they_return():
    model = _Model(2)
    for _ in range(10):
        model.serve(100)
    for _ in range(100):
        model.serve(100, x3=0.5)
    assert [reading.name for reading in model.drift.drifted()] == ["x3"]
    for _ in range(20):
        model.serve(100)
    assert model.drift.drifted() == []
    for _ in range(3):
        model.serve(100, x3=1.0)
    assert [reading.name for reading in model.drift.drifted()] == ["x3"]


def test_a_drift_outlives_a_restart():
    model, after = _Model(3), ModelDrift()
    for _ in range(3):
        model.serve(100, x0=1.0)
    after.restore(json.loads(json.dumps(model.drift.state())))
    assert after.readings() == model.drift.readings()


def test_a_category_that_was_never_seen_is_a_drift_after_a_few_rows():
    drift = ModelDrift()
    drift.watch("colour", [500, 300, 200, 0], "categories")
    drift.take({"colour": [50, 30, 20, 0]})
    drift.take({"colour": [6, 4, 2, 6]})
    assert [reading.name for reading in drift.drifted()] == ["colour"]


def test_psi_and_ks_of_two_samples_of_one_distribution_keep_within_what_chance_allows():
    random = np.random.default_rng(5)
    beyond = 0
    for _ in range(400):
        reference = random.normal(size=1000)
        edges = edges_of(reference)
        before, now = binned(reference, edges), binned(random.normal(size=500), edges)
        beyond += psi(before, now) > psi_by_chance(1000, 500, 10)
        assert ks(before, now) <= ks_by_chance(1000, 500, 1e-5)
    assert beyond <= 12  # 4 are expected
