"""Who is told at once what rows of a table count."""

from collections import Counter
from collections.abc import Callable

Listener = Callable[[float, float, float, float], None]
"""Is told (start_s, end_s, how much, now_s): what a counter counted, or how many values a histogram did."""

_Audience = tuple[tuple[Listener, bool], ...]


class Audiences:
    """Numbers for groups of listeners, so that rows with the same one are told together; 0 is nobody."""

    def __init__(self) -> None:
        self._numbers: dict[_Audience, int] = {}
        self._audiences: dict[int, _Audience] = {0: ()}
        self._num_rows: Counter[int] = Counter()
        self._next = 1

    def __getitem__(self, number: int) -> _Audience:
        return self._audiences[number]

    def join(self, number: int, listener: tuple[Listener, bool]) -> int:
        """The number of an audience with one more; whether it listens to gauges stands beside the listener."""
        audience = (*self._audiences[number], listener)
        self.leave(number)
        joined = self._numbers.get(audience)
        if joined is None:
            joined = self._numbers[audience] = self._next
            self._audiences[joined] = audience
            self._next += 1
        self._num_rows[joined] += 1
        return joined

    def leave(self, number: int) -> None:
        """One row less has this audience."""
        if not number:
            return
        self._num_rows[number] -= 1
        if not self._num_rows[number]:
            del self._num_rows[number], self._numbers[self._audiences.pop(number)]
