"""A run's phases where the output is no terminal, and where it is."""

import io
import re
import threading
from collections.abc import Callable

import pytest
from rich.console import Console

from optimization.report import phases
from optimization.report.phases import Phases


class Heard(io.StringIO):
    """Keeps what is written, and lets others wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def write(self, text: str) -> int:
        with self._changed:
            num = super().write(text)
            self._changed.notify_all()
        return num

    def await_that(self, holds: Callable[[str], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.getvalue()), timeout=20), self.getvalue()

    @property
    def lines(self) -> list[str]:
        """Without the time of day."""
        return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in self.getvalue().splitlines()]


def test_without_a_terminal_a_line_tells_that_a_phase_begins_and_ends() -> None:
    heard = Heard()
    with Phases(Console(file=heard)) as shown, shown.phase("teacher: train", 3) as advance:
        assert heard.lines == ["teacher: train ..."]
        advance(3, 0.5)
    begun, ended = heard.lines
    assert begun == "teacher: train ..."
    assert re.fullmatch(r"teacher: train: done in \S+ s", ended)


def test_without_a_terminal_progress_is_told_every_so_often() -> None:
    heard = Heard()
    with Phases(Console(file=heard), every_s=0.01) as shown, shown.phase("teacher: train", 4) as advance:
        heard.await_that(lambda text: "0 of 4" in text)
        advance(1, 0.25)
        heard.await_that(lambda text: "1 of 4, loss 0.2500, about" in text)
    assert any(re.fullmatch(r"teacher: train: 1 of 4, loss 0\.2500, about \S+ s left", line) for line in heard.lines)


def test_a_phase_that_fails_is_not_called_done() -> None:
    heard = Heard()
    with pytest.raises(ValueError, match="no"), Phases(Console(file=heard)) as shown, shown.phase("measure"):
        raise ValueError("no")
    assert heard.lines[-1].startswith("measure: stopped after ")


def test_time_left_is_judged_without_the_epochs_that_were_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(phases.time, "perf_counter", lambda: now)
    far = phases._Far(10)
    now = 30.0
    for epoch in range(1, 7):  # a training that goes on tells at once of all epochs that were done
        far.note(epoch, 0.5)
    now = 50.0
    far.note(7, 0.5)
    now = 55.0
    assert far.told() == "7 of 10, loss 0.5000, about 55 s left"


def test_on_a_terminal_bars_are_drawn() -> None:
    drawn = io.StringIO()
    with Phases(Console(file=drawn, force_terminal=True, width=120)) as shown:
        with shown.phase("teacher: train", 3) as advance:
            advance(1, 0.25)
        shown.say("a line")
    assert "3/3" in drawn.getvalue()
    assert "a line" in drawn.getvalue()
    assert "done in" not in drawn.getvalue()


@pytest.mark.parametrize(("seconds", "expected"), [(0.25, "0.25 s"), (89, "89 s"), (90, "1.5 min"), (36_000, "10 h")])
def test_durations_are_told_in_two_digits(seconds: float, expected: str) -> None:
    assert phases.duration(seconds) == expected
