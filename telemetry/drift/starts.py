"""Rows at which a change may have begun: many of late, ever fewer of long ago."""

from math import log

PER_OCTAVE = 4
_TOTAL = 2.11
"""At least the sum of 1 / (n log(n)**2) over n = 2, 3, ..."""


def is_kept(start: int, latest: int) -> bool:
    """Whether the `start`th place is still remembered when the `latest` is reached: as many of each doubling of age.

    It hangs on the two numbers alone, never on what was seen: forgetting by that rule cannot make an alarm likelier.
    """
    if start == 0:
        return True
    twos = (start & -start).bit_length() - 1
    return latest - start < PER_OCTAVE << (twos + 1)


def weight(start: int) -> float:
    """What is bet on a change at the `start`th place; all of them together at most 1, however many there come."""
    place = start + 2
    return 1.0 / (_TOTAL * place * log(place) ** 2)
