from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optimization import evaluate, export, models
from optimization.architectures import Mlp
from optimization.examples import Dataset, Split
from tests.optimization import architectures


def test_wilson_interval_is_the_published_one() -> None:
    """Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (right, num), interval in published.items():
        assert evaluate.wilson(right, num) == pytest.approx(interval, abs=5e-5)


@given(num=st.integers(1, 2000), share=st.floats(0, 1))
def test_wilson_interval_is_scipys_and_holds_the_estimate(num: int, share: float) -> None:
    right = round(num * share)
    low, high = evaluate.wilson(right, num)
    reference = stats.binomtest(right, num).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=1e-6)
    assert low - 1e-12 <= right / num <= high + 1e-12


def test_accuracy_counts_the_right_classes() -> None:
    quality = evaluate.accuracy(np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32), np.array([0, 1, 1]))
    assert quality.value == pytest.approx(2 / 3)
    assert quality.num_samples == 3


def test_one_probability_is_the_second_class() -> None:
    np.testing.assert_array_equal(evaluate.classes(np.array([[0.4], [0.6]], np.float32)), [0, 1])


def test_agreement_is_the_share_of_equal_classes() -> None:
    one, other = np.array([[0.9], [0.1], [0.2], [0.3]], np.float32), np.array([[0.8], [0.9], [0.1], [0.4]], np.float32)
    assert evaluate.agreement(one, other) == 0.75


def test_larger_model_takes_longer(tmp_path: Path, digits: Dataset) -> None:
    for width in (4, 2000):
        model = models.build(Mlp(kind="mlp", hidden=(width, width)), digits, seed=0)
        export.export(model, tmp_path / f"{width}.onnx", digits.train, num_outputs=10)
    paths = {str(width): tmp_path / f"{width}.onnx" for width in (4, 2000)}
    measured = evaluate.latencies(paths, digits.held_out)
    assert set(measured["4"]) == {1, 32}
    assert measured["2000"][32] > 3 * measured["4"][32] > 0


def test_histograms_count_every_value_between_the_edges(random: np.random.Generator) -> None:
    inputs = random.integers(0, 17, size=(500, 4)).astype(np.float32)  # many a value lies on an edge
    probabilities = random.uniform(size=(500, 1)).astype(np.float32)
    values, top = evaluate.histograms({"x": inputs}, probabilities)
    for histogram in (values, top):
        assert len(histogram.counts) == len(histogram.edges) + 1
        assert list(histogram.edges) == sorted(set(histogram.edges))
    expected, _ = np.histogram(inputs, [-np.inf, *values.edges, np.inf])
    assert list(values.counts) == expected.tolist()
    assert sum(top.counts) == 500
    assert min(top.edges) >= 0.5, "the probability of the predicted class, not of the second one"


def test_latency_of_texts_is_that_of_their_own_length(tmp_path: Path) -> None:
    """Both are padded to 64 tokens; three in four of the first have 4."""
    model, example = architectures.build("encoder")
    path, _ = architectures.export(model, example, tmp_path / "m.onnx")
    rows = np.arange(40)

    def texts(lengths: np.ndarray) -> Split:
        mask = (np.arange(64) < lengths[:, None]).astype(np.int64)
        return Split(inputs={"ids": mask, "mask": mask}, labels=np.zeros(40, np.int64), lengths=lengths)

    short = evaluate.latencies({"m": path}, texts(np.where(rows % 4, 4, 64)))["m"]
    long = evaluate.latencies({"m": path}, texts(np.full(40, 64)))["m"]
    assert short[1] < 0.8 * long[1], "a text alone is as long as it is"
    assert short[32] > 0.5 * long[32], "a batch is as long as its longest"


def test_speedup_is_the_geometric_mean_over_batch_sizes() -> None:
    assert evaluate.speedup({1: 2.0, 32: 8.0}, {1: 1.0, 32: 1.0}) == pytest.approx(4.0)
    assert evaluate.speedup({1: 1.0, 32: 1.0}, {1: 2.0, 32: 0.5}) == pytest.approx(1.0)
