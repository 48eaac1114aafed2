"""What is on the disk outlives any end of the process that wrote it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.rollout import history as module
from deployments.rollout.history import FILE, History
from deployments.rollout.plan import RolloutSettings
from deployments.rollout.state import begun, failed, finished, started


def rollout(number, at_s=1000.0):
    return begun("tiny", "1", str(number), RolloutSettings(), at_s=at_s + number, why="a test")


def opened(folder):
    history = History(folder)
    history.close()
    return history


def test_the_last_state_of_each_is_read_again(tmp_path):
    history = History(tmp_path)
    one = rollout(2)
    history.keep(one)
    history.pin("tiny", "1")
    history.keep(started(one, at_s=1010.0))
    history.keep(rollout(3))
    history.close()
    again = opened(tmp_path)
    assert again.rollouts == history.rollouts
    assert (again.latest("tiny").candidate, again.pins) == ("3", {"tiny": "1"})
    assert again.rollouts[one.id].phase == "canary"


@settings(max_examples=30)
@given(cut=st.integers(0, 2000))
def test_a_file_cut_short_anywhere_keeps_what_was_whole(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("history")
    history = History(folder)
    for number in (2, 3, 4):
        history.keep(rollout(number))
    history.close()
    file = folder / FILE
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - cut])
    again = History(folder)
    candidates = [each.candidate for each in again.rollouts.values()]
    assert candidates == ["2", "3", "4"][: len(candidates)]
    again.keep(rollout(5))
    again.close()
    assert [each.candidate for each in opened(folder).rollouts.values()] == [*candidates, "5"]


def test_the_file_is_shortened_while_it_is_open(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_GROWTH", 10_000)
    history = History(tmp_path)
    history.pin("tiny", "1")
    for number in range(500):
        history.keep(failed(rollout(2), at_s=2000.0 + number, why="again"))
    assert (tmp_path / FILE).stat().st_size < 20_000
    history.close()
    again = opened(tmp_path)
    assert (again.rollouts, again.pins) == (history.rollouts, {"tiny": "1"})


def test_without_room_to_shorten_it_the_file_grows_on(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_GROWTH", 10_000)
    history = History(tmp_path)
    (tmp_path / FILE).with_suffix(".new").mkdir()  # what is to be written anew has no place
    for number in range(100):
        history.keep(failed(rollout(2), at_s=2000.0 + number, why="again"))
    (tmp_path / FILE).with_suffix(".new").rmdir()
    history.close()
    assert opened(tmp_path).rollouts == history.rollouts


def test_a_line_that_is_damaged_costs_no_other(tmp_path):
    history = History(tmp_path)
    history.keep(rollout(2))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'\n{"format": 1, "rollout": {"id"')  # a disk that was full
    history.keep(rollout(3))
    history.close()
    assert [each.candidate for each in opened(tmp_path).rollouts.values()] == ["2", "3"]


def test_one_process_writes_at_a_time(tmp_path):
    history = History(tmp_path)
    with pytest.raises(BlockingIOError):
        History(tmp_path)
    history.close()
    opened(tmp_path)


def test_old_rollouts_are_forgotten_but_none_that_is_under_way(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 2)
    history = History(tmp_path)
    history.keep(rollout(2))
    for number in range(3, 8):
        ended = finished(failed(rollout(number), at_s=2000.0, why="a test"), at_s=2001.0)
        history.keep(ended)
    history.close()
    assert [each.candidate for each in opened(tmp_path).rollouts.values()] == ["2", "6", "7"]
