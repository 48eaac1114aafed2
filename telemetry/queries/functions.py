"""Functions of each element's value, whatever its labels."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from telemetry.queries.vectors import Floats

DAY_S = 86_400


def rounded(values: Floats, nearest: Floats) -> Floats:
    """To the nearest multiple; halves go up."""
    with np.errstate(all="ignore"):
        inverse = 1.0 / nearest
        return np.asarray(np.floor(values * inverse + 0.5) / inverse)


def clamped(values: Floats, low: Floats, high: Floats) -> Floats:
    """Into [low, high]; NaN where a limit is."""
    return np.asarray(np.maximum(low, np.minimum(high, values)))


def _days(values: Floats) -> Floats:
    return np.asarray(np.floor(values / DAY_S))


def _date(values: Floats, unit: str) -> NDArray[np.datetime64]:
    days = np.where(np.isfinite(values), _days(values), 0).clip(-1e8, 1e8).astype("datetime64[D]")
    return days.astype(f"datetime64[{unit}]")


def _month(values: Floats) -> Floats:
    return np.asarray(_date(values, "M").astype(np.int64) % 12 + 1.0)


def _month_length(values: Floats) -> Floats:
    months = _date(values, "M")
    days = (months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")
    return np.asarray(days.astype(np.float64))


def _day_of_week(values: Floats) -> Floats:
    return np.asarray((_days(values) + 4) % 7)


def _day_of_month(values: Floats) -> Floats:
    days = _date(values, "D") - _date(values, "M").astype("datetime64[D]")
    return np.asarray(days.astype(np.float64) + 1)


def _day_of_year(values: Floats) -> Floats:
    days = _date(values, "D") - _date(values, "Y").astype("datetime64[D]")
    return np.asarray(days.astype(np.float64) + 1)


def _year(values: Floats) -> Floats:
    return np.asarray(_date(values, "Y").astype(np.int64) + 1970.0)


def _of_time(part: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    return lambda values: np.asarray(np.where(np.isfinite(values), part(values), np.nan), np.float64)


ELEMENTWISE: dict[str, Callable[[Floats], Floats]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "exp": np.exp,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sqrt": np.sqrt,
    "sgn": np.sign,
    "deg": np.degrees,
    "rad": np.radians,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
}

OF_TIME: dict[str, Callable[[Floats], Floats]] = {
    "minute": _of_time(lambda values: np.asarray(np.floor(values / 60) % 60)),
    "hour": _of_time(lambda values: np.asarray(np.floor(values / 3600) % 24)),
    "day_of_week": _of_time(_day_of_week),
    "day_of_month": _of_time(_day_of_month),
    "day_of_year": _of_time(_day_of_year),
    "days_in_month": _of_time(_month_length),
    "month": _of_time(_month),
    "year": _of_time(_year),
}
"""Of Unix seconds; without an argument, of the step's own time."""
