"""Times ONNX files against each other: the models take turns, so that noise meets all of them.

    measure: batches x turns x models ─▶ Latency, the median of each turn ─▶ resampled: intervals, ratios of two models

Noise comes in bursts that outlast a turn. Resampling therefore draws turns in blocks (Künsch 1989, Annals of Statistics
17:1217), and the same turns of all models, so that a ratio's interval is not widened by what met both.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimization.graphs import graph
from optimization.readers.examples import Inputs, Split

BATCH_SIZES = (1, 32)
"""Batch sizes latency is measured at."""

_NUM_TEXT_BATCHES = {1: 30, 32: 10}
"""Batches of texts by their size: one of many is as long as its longest, which varies less."""
_NUM_TURNS = 60
_ENOUGH_S = 10.0
"""No more turns begin after this time, except that each model runs every batch once."""
_TURN_S = 0.004
"""Each model runs this long in each of its turns."""
_BLOCK = 4
_NUM_RESAMPLES = 2000
_ENDS = (0.025, 0.975)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times faster one model is than another, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Latency:
    """What a call of one model takes at one batch size, on one thread."""

    turns_s: NDArray[np.float64]
    """Median seconds of each turn, of shape [batches, turns]."""

    @property
    def median_s(self) -> float:
        """Median of the turns; where several batches were measured, the mean of their medians."""
        return float(np.median(self.turns_s, axis=1).mean())

    @property
    def interval_s(self) -> tuple[float, float]:
        """95 % interval of the median."""
        low, high = np.quantile(self._resampled(), _ENDS)
        return float(low), float(high)

    def speedup(self, after: "Latency") -> Ratio:
        """How many times faster `after` is, which took turns with this one."""
        low, high = np.quantile(self._resampled() / after._resampled(), _ENDS)
        return Ratio(value=self.median_s / after.median_s, low=float(low), high=float(high))

    def _resampled(self) -> NDArray[np.float64]:
        """Medians of as many turns drawn anew; models that took turns get the same ones."""
        per_batch = np.median(self.turns_s, axis=1)
        if len(per_batch) > 1:  # what varies most is the length of the texts
            return np.asarray(per_batch[_drawn(len(per_batch))].mean(axis=1))
        return np.asarray(np.median(self.turns_s[0][_drawn(self.turns_s.shape[1])], axis=1))


def measure(models: Mapping[str, Path], split: Split) -> dict[str, dict[int, Latency]]:
    """Time the models on samples of `split`, by model and batch size.

    Where all samples have one shape, one batch is measured. Texts differ in length: of them, several batches are drawn,
    cut to their longest as in service.
    """
    sessions = {name: graph.session(path) for name, path in models.items()}
    measured: dict[str, dict[int, Latency]] = {name: {} for name in models}
    for batch_size in BATCH_SIZES:
        timed = batches(split, batch_size)
        turns: dict[str, list[float]] = {name: [] for name in models}
        ends = time.perf_counter() + _ENOUGH_S
        for number in range(max(1, _NUM_TURNS // len(timed))):
            if number and time.perf_counter() > ends:
                break
            for batch in timed:
                for name, session in sessions.items():
                    turns[name].append(_turn(partial(session.run, None, batch)))
        for name in models:
            measured[name][batch_size] = Latency(turns_s=np.asarray(turns[name]).reshape(-1, len(timed)).T)
    return measured


def duration_s(calls_s: Sequence[Mapping[int, float]], split: Split) -> float:
    """About how long `measure` takes for models whose calls take so long, by batch size."""
    total_s = 0.0
    for batch_size in BATCH_SIZES:
        num_batches = 1 if split.lengths is None else _NUM_TEXT_BATCHES[batch_size]
        round_s = num_batches * sum(max(_TURN_S, each[batch_size]) for each in calls_s)
        total_s += min(max(1, _NUM_TURNS // num_batches) * round_s, _ENOUGH_S + round_s)
    return total_s


def speedup(before: Mapping[int, Latency], after: Mapping[int, Latency]) -> float:
    """How many times faster a model is, by the geometric mean over the batch sizes."""
    return math.exp(float(np.mean([math.log(before[size].median_s / after[size].median_s) for size in after])))


def _drawn(num: int) -> NDArray[np.int64]:
    """Positions of shape [resamples, about `num`], in blocks of neighbours; equal calls give equal ones."""
    block = min(_BLOCK, num)
    starts = np.random.default_rng(0).integers(0, num - block + 1, (_NUM_RESAMPLES, math.ceil(num / block), 1))
    return np.asarray((starts + np.arange(block)).reshape(_NUM_RESAMPLES, -1), np.int64)


def batches(split: Split, batch_size: int) -> list[Inputs]:
    """One batch, or of texts several, of random samples; equal calls give equal batches."""
    if split.lengths is None:
        return [split.batch(np.arange(batch_size) % len(split))]
    random = np.random.default_rng(0)
    return [split.batch(random.integers(0, len(split), batch_size)) for _ in range(_NUM_TEXT_BATCHES[batch_size])]


def _turn(call: Callable[[], object]) -> float:
    """Median seconds of a call, over as many as fit into a turn."""
    ends = time.perf_counter() + _TURN_S
    durations: list[float] = []
    while not durations or time.perf_counter() < ends:
        began = time.perf_counter()
        call()
        durations.append(time.perf_counter() - began)
    return float(np.median(durations))
