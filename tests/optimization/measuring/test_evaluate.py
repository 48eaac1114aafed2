import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optimization.measuring import evaluate


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


def test_quality_is_the_share_of_right_answers() -> None:
    quality = evaluate.quality(np.array([True, True, False]), "exact match")
    assert (quality.metric, quality.num_samples) == ("exact match", 3)
    assert quality.value == pytest.approx(2 / 3)
