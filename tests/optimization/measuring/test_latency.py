from pathlib import Path

import numpy as np
import pytest

from optimization.graphs import export
from optimization.measuring import latency
from optimization.measuring.latency import Latency
from optimization.networks import models
from optimization.readers.examples import Dataset, Split
from optimization.recipe.architectures import Mlp


def turns(*medians: list[float]) -> Latency:
    return Latency(turns_s=np.asarray(medians, np.float64))


def test_larger_model_takes_longer_and_its_interval_says_so(tmp_path: Path, digits: Dataset) -> None:
    for width in (4, 2000):
        model = models.build(Mlp(kind="mlp", hidden=(width, width)), digits, seed=0)
        export.export(model, tmp_path / f"{width}.onnx", digits.train, task=digits.task)
    paths = {str(width): tmp_path / f"{width}.onnx" for width in (4, 2000)}
    measured = latency.measure(paths, digits.held_out)
    assert set(measured["4"]) == {1, 32}
    ratio = measured["2000"][32].speedup(measured["4"][32])
    assert 3 < ratio.low <= ratio.value <= ratio.high
    low, high = measured["4"][32].interval_s
    assert 0 < low <= measured["4"][32].median_s <= high


def test_latency_of_texts_is_that_of_their_own_length() -> None:
    """All are padded to 64 tokens; three in four have 4."""
    lengths = np.where(np.arange(40) % 4, 4, 64)
    mask = (np.arange(64) < lengths[:, None]).astype(np.int64)
    texts = Split(inputs={"ids": mask, "mask": mask}, labels=np.zeros(40, np.int64), lengths=lengths)
    alone, together = ({each["ids"].shape for each in latency.batches(texts, size)} for size in (1, 32))
    assert alone == {(1, 4), (1, 64)}, "a text alone is as long as it is"
    assert together == {(32, 64)}, "a batch is as long as its longest"


def test_interval_covers_the_true_median_nineteen_times_in_twenty(random: np.random.Generator) -> None:
    """Turns are log-normal with a median of 1; their noise lasts for two turns."""
    covered = 0
    for _ in range(200):
        noise = random.normal(0, 0.2, 61)
        low, high = turns(list(np.exp((noise[1:] + noise[:-1]) / 2**0.5))).interval_s
        covered += low <= 1 <= high
    assert 0.85 <= covered / 200 <= 0.99


def test_what_slows_both_does_not_widen_the_ratio(random: np.random.Generator) -> None:
    burst = np.repeat(random.uniform(1, 3, 15), 4)
    small, large = turns(list(burst * random.normal(1, 0.01, 60))), turns(list(2 * burst))
    ratio = large.speedup(small)
    assert ratio.low == pytest.approx(2, rel=0.05)
    assert ratio.high == pytest.approx(2, rel=0.05)
    low, high = large.interval_s
    assert high / low > 1.3


def test_speedup_is_the_geometric_mean_over_batch_sizes() -> None:
    one, two, half, eight = (turns([seconds]) for seconds in (1.0, 2.0, 0.5, 8.0))
    assert latency.speedup({1: two, 32: eight}, {1: one, 32: one}) == pytest.approx(4.0)
    assert latency.speedup({1: one, 32: one}, {1: two, 32: half}) == pytest.approx(1.0)


def test_what_measuring_takes_is_known_beforehand(tumours: Dataset) -> None:
    few = latency.duration_s([{1: 1e-5, 32: 3e-5}] * 2, tumours.held_out)
    assert few == pytest.approx(2 * 2 * 60 * 0.004)  # batch sizes, models, turns
    slow = latency.duration_s([{1: 1.0, 32: 10.0}] * 2, tumours.held_out)
    assert slow == pytest.approx(10 + 2 * 1.0 + 10 + 2 * 10.0)  # no turn begins after ten seconds
