"""How urgent a request is: the header `x-request-timeout-seconds`, and Triton's parameters `timeout` and `priority`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.errors import RequestError, brief

TIMEOUT = b"x-request-timeout-seconds"


@dataclass(frozen=True, kw_only=True, slots=True)
class Urgency:
    """When a request must be answered, and before whom."""

    timeout_s: float | None = None
    """Seconds until its client gives up; none if it does not say."""
    priority: int = 0
    """Triton's order: 1 goes first, larger numbers later; 0 is the default, last of all."""

    @property
    def rank(self) -> int:
        """A key that sorts by priority."""
        return self.priority or _LAST


_PARAMETERS = frozenset(("timeout", "priority"))
_LAST = 2**64
BELOW_ALL = _LAST + 1
"""The priority of what is asked beside the clients: after all of them. No request can name it."""
_DIGITS = 20
"""Of the largest number below that."""
_DEFAULT = Urgency()


def seconds_left(header: str | None) -> float | None:
    """The header's value; none where there is no limit, which a value that is not positive says too.

    Raises:
        RequestError: it is no number.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise RequestError(f"x-request-timeout-seconds must be a number of seconds, got {brief(header)}")
    return seconds if 0 < seconds < math.inf else None


def urgency_of(parameters: Mapping[str, Any], timeout_s: float | None) -> Urgency:
    """Of a request with these `parameters`; `timeout_s` is the header's, and the shorter one counts.

    Raises:
        RequestError: `timeout` (microseconds) or `priority` is no whole number from 0.
    """
    if timeout_s is None and not parameters.keys() & _PARAMETERS:
        return _DEFAULT
    timeout_us, priority = _whole(parameters, "timeout"), _whole(parameters, "priority")
    limits_s = [limit for limit in (timeout_s, timeout_us / 1e6) if limit]
    return Urgency(timeout_s=min(limits_s, default=None), priority=priority)


def _whole(parameters: Mapping[str, Any], name: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, str) and value.isdecimal() and len(value) <= _DIGITS:  # Triton's clients may send text
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LAST:
        raise RequestError(f"parameter {name!r} must be a whole number from 0, got {brief(value)}")
    return value
