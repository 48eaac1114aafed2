"""Small plots of a report, as SVG; colours come from the page's style, so that they follow light and dark."""

from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 200, 44


def bins(reference: Sequence[int], counts: Sequence[int], bounds: Sequence[float], *, is_ordered: bool) -> Markup:
    """Shares by bin, the reference's beside those of the rows; each bin says its ends where it is pointed at."""
    before, now = (_shares(each) for each in (reference, counts))
    top = max((*before, *now, 1e-9))
    wide = WIDTH / len(before)
    drawn = [
        Markup("<g><title>{}: {:.1%} before, {:.1%} now</title>{}{}</g>").format(
            _ends(bin_, bounds) if is_ordered else f"category {bin_ + 1}",
            was,
            is_,
            _bar("before", bin_ * wide + 0.08 * wide, 0.4 * wide, was / top),
            _bar("now", bin_ * wide + 0.52 * wide, 0.4 * wide, is_ / top),
        )
        for bin_, (was, is_) in enumerate(zip(before, now, strict=True))
    ]
    return _figure("shares by bin", drawn)


def line(values: Sequence[float | None]) -> Markup:
    """Values over time, from 0 or the lowest; a gap where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return Markup("")
    low, high = min(0.0, *known) if max(known) < 0.9 else min(known), max(known)
    span = max(high - low, 1e-9)
    runs: list[list[str]] = [[]]
    for at, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        x = (at + 0.5) * WIDTH / len(values)
        runs[-1].append(f"{x:.1f},{HEIGHT - 2 - (value - low) / span * (HEIGHT - 4):.1f}")
    drawn = [
        Markup('<polyline points="{}"/>').format(" ".join(run if len(run) > 1 else run * 2)) for run in runs if run
    ]
    title = Markup("<title>from {:.3g} to {:.3g}</title>").format(low, high)
    return _figure("over time", [title, *drawn])


def _figure(label: str, drawn: Sequence[Markup]) -> Markup:
    inside = Markup("").join(drawn)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(WIDTH, HEIGHT, label, inside)


def _bar(kind: str, x: float, width: float, share: float) -> Markup:
    height = share * (HEIGHT - 2)
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        escape(kind), x, HEIGHT - height, width, height
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _ends(bin_: int, bounds: Sequence[float]) -> str:
    low = f"{bounds[bin_ - 1]:.4g}" if bin_ else "lowest"
    high = f"{bounds[bin_]:.4g}" if bin_ < len(bounds) else "highest"
    return f"{low} to {high}"
