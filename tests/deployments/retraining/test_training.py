"""What a training may become, and that it is on disk."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import SettingsError
from deployments.retraining.journal import FILE, Journal, give_order, read
from deployments.retraining.training import Phase, Training, begun, moved

FIRST = begun(1, "tiny", alert=7, alerted_s=10.0, at_s=20.0, why="drift: x1 has drifted")


def at(phase: Phase) -> Training:
    return FIRST.model_copy(update={"phase": phase})


@given(st.lists(st.sampled_from(get_args(Phase)), max_size=12))
def test_nothing_is_promoted_that_was_not_checked_and_rolled_out(phases: list[Phase]) -> None:
    training = FIRST
    for phase in phases:
        try:
            training = moved(training, phase, at_s=30.0, why="so")
        except ValueError:
            continue
    been = [decision.phase for decision in training.decisions]
    if training.phase == "promoted":
        assert been[:3] == ["gathering", "training", "checking"]
        assert been[-2] == "rolling_out"
    assert been == sorted(been, key=get_args(Phase).index)


def test_what_was_kept_is_there_after_the_loop_was_killed(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    kept.keep(FIRST)
    kept.keep(moved(FIRST, "training", at_s=30.0, why="rows", baseline="1"))
    kept.close()
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'\n{"id":2,"model":"ti')  # killed while it wrote
    again = Journal(tmp_path)
    again.keep(begun(2, "tiny", alert=8, alerted_s=50.0, at_s=60.0, why="again"))
    again.close()
    assert [(each.id, each.phase, each.baseline) for each in read(tmp_path).values()] == [
        (1, "training", "1"),
        (2, "gathering", None),
    ]


def test_a_second_loop_is_refused(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    with pytest.raises(SettingsError, match="one runs there already"):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path).close()


def test_approval_needs_a_version_that_waits_for_it(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    kept.keep(FIRST)
    with pytest.raises(SettingsError, match="approve needs a version that waits for it, got gathering"):
        give_order(tmp_path, "approve")
    kept.keep(at("awaiting_approval"))
    give_order(tmp_path, "approve")
    assert kept.order() == "approve"
    kept.forget_order()
    assert kept.order() is None
    kept.close()
