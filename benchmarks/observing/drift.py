"""How soon a drift is found, and whether a stream that does not drift is ever called one.

A model of ten columns, of as many shapes; each column's reference is binned at its own quantiles as in a manifest.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from benchmarks.throughput import Figures
from telemetry.drift.model_drift import ModelDrift

NUM_REFERENCE = 1000
NUM_BINS = 10
ROWS_BEFORE = 20_000
LOOK_ROWS = 1000
SHAPES = ("normal", "gamma", "uniform", "lognormal", "bimodal")


class Stream:
    """Rows of ten columns, two of each shape, in standard deviations."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.names = [f"{shape}{number}" for number in (0, 1) for shape in SHAPES]
        rows = self.rows(NUM_REFERENCE)
        cuts = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
        self._edges = {name: np.quantile(rows[name], cuts, method="inverted_cdf") for name in self.names}
        self.drift = ModelDrift()
        for name, counts in self._counted(rows).items():
            self.drift.watch(name, counts)

    def rows(self, num: int, shifted: str = "", shift: float = 0.0) -> dict[str, NDArray[np.float64]]:
        """New rows by column; one column may be shifted by so many standard deviations."""
        return {name: self._values(name[:-1], num) + shift * (name == shifted) for name in self.names}

    def serve(self, num: int, shifted: str = "", shift: float = 0.0) -> None:
        """Let the test count rows."""
        self.drift.take(self._counted(self.rows(num, shifted, shift)))

    def _counted(self, rows: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.int64]]:
        return {
            name: np.bincount(np.searchsorted(self._edges[name], values), minlength=NUM_BINS)
            for name, values in rows.items()
        }

    def _values(self, shape: str, num: int) -> NDArray[np.float64]:
        random = self._random
        match shape:
            case "normal":
                return random.normal(size=num)
            case "gamma":
                return random.gamma(4.0, size=num) / 2
            case "uniform":
                return random.uniform(0, np.sqrt(12), size=num)
            case "lognormal":
                return random.lognormal(0.0, 0.5, size=num) / 0.604
            case _:
                values: NDArray[np.float64] = random.normal(size=num) + 4.0 * random.integers(0, 2, size=num)
                return values / 5**0.5


def delay_figures(options: argparse.Namespace) -> Figures:
    """Rows until a column that shifts by one standard deviation is called drifted: median and 95th percentile."""
    delays = []
    for number in range(10 if options.quick else 100):
        stream = Stream(seed=number)
        shifted = stream.names[number % len(stream.names)]
        for _ in range(ROWS_BEFORE // LOOK_ROWS):
            stream.serve(LOOK_ROWS)
        rows = 0
        while not stream.drift.drifted() and rows < 10_000:
            stream.serve(4, shifted, 1.0 if number % 2 else -1.0)
            rows += 4
        delays.append(rows)
    return {"drift_delay": float(np.median(delays)), "drift_delay_p95": float(np.quantile(delays, 0.95))}


def false_figures(options: argparse.Namespace) -> Figures:
    """Alarms of one stationary stream that is looked at every 1,000 rows, and the share of many shorter ones."""
    stream, alarms, was_drifted = Stream(seed=1_000), 0, False
    for _ in range((10**6 if options.quick else 10**7) // LOOK_ROWS):
        stream.serve(LOOK_ROWS)
        is_drifted = bool(stream.drift.drifted())
        alarms, was_drifted = alarms + (is_drifted and not was_drifted), is_drifted
    num_streams = 20 if options.quick else 200
    wrong = 0
    for number in range(num_streams):
        short = Stream(seed=2_000 + number)
        for _ in range(50):
            short.serve(LOOK_ROWS // 5)
            if short.drift.drifted():
                wrong += 1
                break
    return {"drift_false": float(alarms), "drift_false_streams": wrong / num_streams}
