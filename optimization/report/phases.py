"""How far a run is: on a terminal a bar for each phase, elsewhere a line as it begins, each minute, and as it ends."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Advance = Callable[[int, float], None]
"""Tells how far a phase is, and the loss; no number where there is none."""

_EVERY_S = 60.0
_AT_ONCE_S = 0.05
"""What is told within this time was done before: epochs of a training that goes on."""


class Phases:
    """Shows the phases of a run, to be used in a `with` statement."""

    def __init__(self, console: Console, *, every_s: float = _EVERY_S) -> None:
        self._console = console
        self._every_s = every_s
        self._bars = _bars(console) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is shown."""
        return self._console.quiet

    def say(self, text: str) -> None:
        """Print a line."""
        clock = "" if self._bars is not None else f"{time.strftime('%H:%M:%S')} "
        self._console.print(f"{clock}{text}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def phase(self, description: str, total: int = 1) -> Iterator[Advance]:
        """Show how far the block is while it runs; the phase is done when the block ends without an error."""
        shown = self._lines(description, total) if self._bars is None else _bar(self._bars, description, total)
        with shown as advance:
            yield advance

    @contextmanager
    def _lines(self, description: str, total: int) -> Iterator[Advance]:
        far = _Far(total)
        ended = threading.Event()

        def tell() -> None:
            while not ended.wait(self._every_s):
                self.say(f"{description}: {far.told()}")

        self.say(f"{description} ...")
        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        outcome = "stopped after"
        try:
            yield far.note
            outcome = "done in"
        finally:
            ended.set()
            teller.join()
            self.say(f"{description}: {outcome} {duration(far.elapsed_s)}")


class _Far:
    """How far a phase is, and how long what is left will take, judged by the parts that were done meanwhile."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.perf_counter()
        self._first, self._latest = (0.0, 0), (0.0, 0)  # seconds, parts done
        self._loss = math.nan

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._began

    def note(self, completed: int, loss: float) -> None:
        """Take in how far the phase is."""
        now = self.elapsed_s
        if now - self._first[0] <= _AT_ONCE_S or not self._first[1]:
            self._first = (now, completed)
        self._latest, self._loss = (now, completed), loss

    def told(self) -> str:
        """For example: 3 of 6, loss 0.1234, about 12 min left."""
        seconds, completed = self._latest
        if self._total == 1 or not completed:
            return f"{completed} of {self._total} after {duration(self.elapsed_s)}" if self._total > 1 else "under way"
        parts = [f"{completed} of {self._total}", *([f"loss {self._loss:.4f}"] if math.isfinite(self._loss) else [])]
        since_s, num_before = self._first if completed > self._first[1] else (0.0, 0)
        each_s = (seconds - since_s) / (completed - num_before)
        left_s = each_s * (self._total - completed) - (self.elapsed_s - seconds)
        return ", ".join([*parts, f"about {duration(max(0.0, left_s))} left"])


def duration(seconds: float) -> str:
    """Two digits: 45 s, 12 min, 3.4 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"


def _bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


@contextmanager
def _bar(bars: Progress, description: str, total: int) -> Iterator[Advance]:
    task = bars.add_task(description, total=total, note="")

    def advance(completed: int, loss: float) -> None:
        note = f"loss {loss:.4f}" if math.isfinite(loss) else ""
        bars.update(task, completed=completed, note=note)

    yield advance
    bars.update(task, completed=total)
