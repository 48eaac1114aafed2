"""The contract of any family of text encoders: its head's own answers through every step, or a reason why not."""

from pathlib import Path

import pytest

pytest.importorskip("transformers")

from benchmarks.figures import families

ALWAYS = ("distilbert",)
"""One that is like BERT and called otherwise in all its parts; the others take half a minute each together."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [each if each in ALWAYS else pytest.param(each, marks=pytest.mark.long) for each in families.FAMILIES]
)
def test_a_family_goes_through_every_step_with_its_own_answers(family: str, tmp_path: Path) -> None:
    """Exports are checked as they are made, and raise."""
    outcome = families.take(family, tmp_path)
    assert outcome.refused is not None or outcome.is_whole, outcome
