"""Draws a report's plots as SVG; colours come from the page's style, so that they follow light and dark."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 520, 340
LEFT, RIGHT, TOP, BOTTOM = 52, 508, 14, 296
_ROW = 15
"""Pixels from one label to the next."""


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A point with its intervals."""

    x: float
    y: float
    low: float
    high: float
    left: float
    right: float
    kind: str
    """Names its style: "teacher", "control", "step", "trial", "chosen"."""
    label: str = ""
    """Written beside it."""
    note: str = ""
    """Shown when pointed at."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Where values lie on the page."""

    first: float
    last: float
    ticks: tuple[float, ...]
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Pixels of a value."""
        first, last, value = (math.log(each) if self.is_log else each for each in (self.first, self.last, value))
        return self.start + (value - first) / (last - first) * (self.end - self.start)


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis of positive values with ticks at 1, 2 and 5."""
    least, most = min(values) / 1.25, max(values) * 1.25
    decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    ticks = [base * 10.0**decade for decade in decades for base in (1, 2, 5)]
    inside = tuple(tick for tick in ticks if least <= tick <= most)
    return Axis(first=least, last=most, ticks=inside, start=start, end=end, is_log=True)


def linear_axis(values: Sequence[float], start: float, end: float, margin: float = 0.08) -> Axis:
    """An axis with round ticks and some room at both ends."""
    least, most = min(values), max(values)
    room = (most - least) * margin or abs(most) * 0.01 or 1.0
    least, most = least - room, most + room
    rough = (most - least) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(base * power for base in (1, 2, 5, 10) if base * power >= rough)
    ticks = tuple(step * count for count in range(math.ceil(least / step), math.floor(most / step) + 1))
    return Axis(first=least, last=most, ticks=ticks, start=start, end=end)


def scatter(
    dots: Sequence[Dot],
    *,
    x_text: Callable[[float], str],
    x_name: str,
    y_text: Callable[[float], str],
    y_name: str,
    floor: float | None = None,
    front: Sequence[tuple[float, float]] = (),
) -> Markup:
    """Dots over a logarithmic and a linear axis, `front` as a staircase; `floor` is a line none should cross."""
    across = log_axis([end for dot in dots for end in (dot.left, dot.right)], LEFT, RIGHT)
    heights = [end for dot in dots for end in (dot.low, dot.high)] + ([] if floor is None else [floor])
    up = linear_axis(heights, BOTTOM, TOP)
    parts = [_grid(across, up, x_text, y_text)]
    if floor is not None:
        parts.append(f'<line class="floor" x1="{LEFT}" x2="{RIGHT}" y1="{up(floor):.1f}" y2="{up(floor):.1f}"/>')
    if front:
        parts.append(_staircase(front, across, up))
    parts += [_dot(dot, across, up) for dot in dots]
    parts += _labels([dot for dot in dots if dot.label], across, up)
    return _svg(parts, x_name, y_name, f"{y_name} against {x_name}")


def curve(points: Sequence[tuple[float, float]], dots: Sequence[Dot], *, x_name: str, y_name: str) -> Markup:
    """Shares over shares, in percent, as one line with `dots` beside it."""
    xs, ys = zip(*points, strict=True)
    across = linear_axis([*xs, *(end for dot in dots for end in (dot.left, dot.right))], LEFT, RIGHT, margin=0.02)
    up = linear_axis([*ys, *(end for dot in dots for end in (dot.low, dot.high))], BOTTOM, TOP)
    path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
    parts = [_grid(across, up, lambda value: f"{100 * value:.4g}", lambda value: f"{100 * value:.4g}")]
    parts.append(f'<g class="line c0"><polyline points="{path}"/></g>')
    parts += [_dot(dot, across, up) for dot in dots]
    parts += _labels([dot for dot in dots if dot.label], across, up)
    return _svg(parts, x_name, y_name, f"{y_name} against {x_name}")


def lines(series: Mapping[str, Sequence[float]], *, x_name: str, y_name: str) -> Markup:
    """One line for each series over 1, 2, 3, ..., heights on a logarithmic axis where all are positive."""
    values = [value for each in series.values() for value in each]
    longest = max(map(len, series.values()))
    across = linear_axis([1, max(2, longest)], LEFT, RIGHT, margin=0.02)
    up = (log_axis if min(values) > 0 else linear_axis)(values, BOTTOM, TOP)
    parts = [_grid(across, up, lambda value: f"{value:g}", lambda value: f"{value:.3g}")]
    for number, (name, heights) in enumerate(series.items()):
        along = [(across(position), up(height)) for position, height in enumerate(heights, 1)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in along)
        parts.append(Markup('<g class="line c{}"><title>{}</title>').format(number % 6, name))
        parts.append(f'<polyline points="{points}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in along]
        parts.append("</g>")
    return _svg(parts, x_name, y_name, f"{y_name} against {x_name}")


def _grid(across: Axis, up: Axis, x_text: Callable[[float], str], y_text: Callable[[float], str]) -> str:
    parts = []
    room = (RIGHT - LEFT) / 52  # a label's share of the axis, in pixels
    last = -math.inf
    for tick in across.ticks:
        x = across(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}"/>')
        if x - last >= 6 * room:
            parts.append(f'<text x="{x:.1f}" y="{BOTTOM + 17}" text-anchor="middle">{x_text(tick)}</text>')
            last = x
    for tick in up.ticks:
        y = up(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{y_text(tick)}</text>')
    return "".join(parts)


def _staircase(front: Sequence[tuple[float, float]], across: Axis, up: Axis) -> str:
    """Along the front, then to the right: what a point of the front beats lies below and right of it."""
    path, before = "", 0.0
    for number, (x, y) in enumerate(front):
        path += f"H{across(x):.1f}V{up(y):.1f}" if number else f"M{across(x):.1f},{up(y):.1f}"
        before = y
    return f'<path class="front" d="{path}H{RIGHT}"/>' if before else ""


def _dot(dot: Dot, across: Axis, up: Axis) -> str:
    x, y = across(dot.x), up(dot.y)
    bars = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{up(dot.low):.1f}" y2="{up(dot.high):.1f}"/>'
    bars += f'<line x1="{across(dot.left):.1f}" x2="{across(dot.right):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    note = Markup('<g class="dot {}"><title>{}</title>').format(dot.kind, dot.note or dot.label)
    return f'{note}{bars}<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if dot.kind == "chosen" else 4.5}"/></g>'


def _labels(dots: Sequence[Dot], across: Axis, up: Axis) -> list[str]:
    """Labels beside their dots, moved down where they would lie on one another."""
    placed: list[tuple[float, float, float]] = []
    parts: list[str] = []
    for dot in sorted(dots, key=lambda dot: up(dot.y)):
        x, y, width = across(dot.x), up(dot.y) + 4, 7.2 * len(dot.label)
        to_left = x + width + 9 > RIGHT
        left = x - 9 - width if to_left else x + 9
        while any(abs(y - other) < _ROW and left < end and left + width > start for start, end, other in placed):
            y += 2
        placed.append((left, left + width, y))
        anchor = "end" if to_left else "start"
        text = Markup('<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        parts.append(text.format(x - 9 if to_left else x + 9, y, anchor, dot.label))
    return parts


def _svg(parts: Sequence[str], x_name: str, y_name: str, title: str) -> Markup:
    names = Markup(
        '<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>'
        '<text class="name" x="{}" y="{}" transform="rotate(-90 12 {})" text-anchor="middle">{}</text>'
    ).format((LEFT + RIGHT) / 2, HEIGHT - 8, x_name, 12, (TOP + BOTTOM) / 2, (TOP + BOTTOM) / 2, y_name)
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, title)
    # The parts are numbers, and names that were escaped when they were put in.
    return head + Markup("".join(parts)) + names + Markup("</svg>")
