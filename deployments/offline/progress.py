"""How far a run is: a bar on a terminal, elsewhere a line as it begins and each minute."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from deployments.offline.run import Progress

EVERY_S = 60.0


@contextmanager
def shown(console: Console, every_s: float = EVERY_S) -> Iterator[Callable[[Progress], None]]:
    """A function that shows how far a run is."""
    if not console.is_terminal:
        yield _lines(console, every_s)
        return
    columns = TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
    with Bars(*columns, console=console) as bars:
        task = bars.add_task("starting")

        def show(progress: Progress) -> None:
            bars.update(task, total=progress.num_rows, completed=progress.num_done, description=_told(progress))

        yield show


def _lines(console: Console, every_s: float) -> Callable[[Progress], None]:
    last_s: float | None = None

    def show(progress: Progress) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if last_s is None or now_s - last_s >= every_s:
            last_s = now_s
            clock, far = time.strftime("%H:%M:%S"), f"{progress.num_done:,} of {progress.num_rows:,} rows"
            told = _told(progress)
            console.print(f"{clock} {far}{', ' if told else ''}{told}", markup=False, highlight=False, soft_wrap=True)

    return show


def _told(progress: Progress) -> str:
    left_s = progress.left_s
    parts = [
        f"{progress.rows_per_s:,.0f} rows/s" if progress.rows_per_s else "",
        f"about {duration(left_s)} left" if left_s else "",
        f"{progress.num_bad:,} bad" if progress.num_bad else "",
    ]
    return ", ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Two digits: 45 s, 12 min, 3.4 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"
