"""A view's plots: their lines are gathered where the services are, read and drawn in whatever thread has time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from telemetry.page.grid import Drawn, Floats, Grid
from telemetry.page.lines import Line, read
from telemetry.page.plots import Plot
from telemetry.page.sources import Json, Range
from telemetry.storage.points import Points
from telemetry.storage.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a view says (`head`), and plots with lines to draw."""

    head: Json
    plots: Sequence[tuple[Plot, Sequence[Line]]]
    grid: Grid
    shown: Range
    now_s: float
    """The collector's time when the lines were gathered."""
    storage: Storage | None
    last: dict[str, float | None] = field(default_factory=dict)
    """The value now of each signal, also of those without a plot."""

    def answer(self) -> Json:
        """The view as JSON-ready data, `last` with the value at the range's end of each signal that is drawn."""
        columns = self._columns([(plot, line) for plot, lines in self.plots for line in lines])
        last = dict(self.last) if self._is_live else {}
        plots, at = [], 0
        for plot, lines in self.plots:
            drawn = columns[at : at + len(lines)]
            at += len(lines)
            last |= {line.key.metric: value["last"] for line, value in zip(lines, drawn, strict=True) if line.is_signal}
            shown = [column for column in drawn if "values" in column]
            if shown:
                plots.append({"key": plot.key, "title": plot.title, "unit": plot.unit, "lines": shown})
        return self.head | {
            "since": self.shown.since_s,
            "until": self.shown.until_s,
            "times": self.grid.times(),
            "plots": plots,
            "last": last,
        }

    @property
    def _is_live(self) -> bool:
        """Whether the range ends now, so that its last values are the values now."""
        return self.shown.is_live(self.now_s)

    def _columns(self, lines: Sequence[tuple[Plot, Line]]) -> list[Json]:
        """Each line in columns; one that has nothing to draw is but its last value."""
        each = [line for _, line in lines]
        now = self._read(each)
        before = self._read(each, self.shown.compare_s) if self.shown.compare_s else [None] * len(each)
        expected = self._expected(each)
        return [
            self._column(plot, line, now[at], before[at], expected.get(line.key.metric) if line.is_signal else None)
            for at, (plot, line) in enumerate(lines)
        ]

    def _read(self, lines: Sequence[Line], earlier_s: float = 0.0) -> list[Points]:
        start_s, end_s = self.grid.first_s - earlier_s, self.shown.until_s - earlier_s
        return read(lines, self.storage, start_s, end_s, step_s=self.grid.step_s)

    def _expected(self, lines: Sequence[Line]) -> dict[str, tuple[Floats, Floats]]:
        """The range that was expected of each signal, where it was recorded."""
        signals = [line for line in lines if line.is_signal]
        bounds = [
            Line(label="", key=line.key._replace(metric=f"{line.key.metric}.{end}"))
            for line in signals
            for end in ("low", "high")
        ]
        drawn = [self.grid.draw(points) for points in self._read(bounds)] if self.storage else []
        pairs = zip(signals, drawn[::2], drawn[1::2], strict=False)
        return {line.key.metric: (low.low, high.high) for line, low, high in pairs if not (low.empty or high.empty)}

    def _column(
        self, plot: Plot, line: Line, points: Points, before: Points | None, expected: tuple[Floats, Floats] | None
    ) -> Json:
        now = self.grid.draw(points, peak=plot.peak, interval_s=line.spacing_s(points))
        earlier = None
        if before is not None and self.shown.compare_s:
            earlier = self.grid.earlier(self.shown.compare_s).draw(before, peak=plot.peak)
        last = line.now(points, self.now_s) if self._is_live else self._last(points)
        if now.empty and (earlier is None or earlier.empty):
            return {"last": last}
        now = _ending(now, last)
        column: Json = {"label": line.label, "values": now.values, "last": last}
        if not np.array_equal(now.low, now.high, equal_nan=True):
            # Seven digits are more than a plot shows, and half of what is to be sent.
            column |= {"low": now.low.astype(np.float32), "high": now.high.astype(np.float32)}
        if earlier is not None and not earlier.empty:
            column["before"] = earlier.values
        if expected is not None:
            column["expected"] = {"low": expected[0], "high": expected[1]}
        return column

    def _last(self, points: Points) -> float | None:
        """The last value within the range."""
        first, end = np.searchsorted(points.times, [self.shown.since_s, self.shown.until_s], side="right")
        inside = points.values[first:end]
        known = inside[np.isfinite(inside)]
        return float(known[-1]) if len(known) else None


def _ending(drawn: Drawn, last: float | None) -> Drawn:
    """With the value now at its end, so that a card, a legend and the line say the same."""
    filled = np.flatnonzero(np.isfinite(drawn.values))
    if last is None or not len(filled):
        return drawn
    values = drawn.values.copy()
    values[filled[-1]] = last
    return replace(drawn, values=values)
