"""Durations as people say them."""


def duration_text(seconds: float) -> str:
    """A duration as people say it: "212 ms"."""
    number, unit = _scaled(seconds, seconds)
    return f"{number} {unit}"


def duration_range(expected: tuple[float, float]) -> str:
    """Two durations in one unit: "1.8-2.4 ms"."""
    low, unit = _scaled(expected[0], expected[1])
    high, _ = _scaled(expected[1], expected[1])
    return f"{low}-{high} {unit}" if low != high else f"{high} {unit}"


def _scaled(seconds: float, like_s: float) -> tuple[str, str]:
    factor, unit = next(
        (f, u) for least, f, u in ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs")) if like_s >= least
    )
    number = seconds * factor
    return f"{number:.0f}" if number >= 100 else f"{number:.2g}" if number < 10 else f"{number:.3g}", unit
