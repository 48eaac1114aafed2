"""How long to wait before a request is sent again."""

import random
from collections.abc import Callable

FIRST_S = 0.5
FACTOR = 1.5
JITTER = 0.5
LONGEST_S = 30.0


class Backoff:
    """Waits that grow from half a second to half a minute, each made up to a half longer or shorter by chance.

    So collectors that lost a back-end at the same time do not come back at the same time.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._next_s = FIRST_S

    def wait_s(self, asked_s: float = 0.0) -> float:
        """Seconds until the next try; at least the `asked_s` that the back-end asked for."""
        wait_s = self._next_s * self._uniform(1 - JITTER, 1 + JITTER)
        self._next_s = min(self._next_s * FACTOR, LONGEST_S)
        return max(wait_s, asked_s)

    def reset(self) -> None:
        """Begin again, after a success."""
        self._next_s = FIRST_S
