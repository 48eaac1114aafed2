"""What every detector does."""

from typing import Protocol, TypeVar

X = TypeVar("X", contravariant=True)


class Detector(Protocol[X]):
    """Says how unusual a value is, given only values that came before; what to do about it `watching.decision` decides.

    Call `score_one`, then `learn_one` unless the value should not count as normal. Scores are finite and at least 0;
    0 is what a constant series gets.
    """

    def score_one(self, x: X) -> float:
        """How far `x` lies above what was learnt; learns nothing."""
        ...

    def learn_one(self, x: X) -> None:
        """Take `x` as an example of what is usual."""
        ...

    def expected(self) -> tuple[float, float]:
        """The range in which values usually lay."""
        ...
