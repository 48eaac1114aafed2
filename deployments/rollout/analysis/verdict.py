"""What an analysis says."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["good", "bad", "inconclusive"]
Signal = Literal[
    "errors",
    "non_finite",
    "latency",
    "fidelity",
    "answers",
    "slo",
    "memory",
    "cpu",
    "slices",
    "watched",
    "completeness",
]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one signal shows."""

    signal: Signal
    kind: Kind
    text: str
    """The same for people: both arms' numbers, in a sentence."""
    nats: float = 0.0
    """Evidence that the candidate is worse, the logarithm of what a bet on it has won."""
    needed_nats: float = 0.0
    """From so many on the candidate is bad; from half as many it is not good."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Good promotes, bad rolls back, inconclusive holds."""

    kind: Kind
    findings: tuple[Finding, ...]

    @property
    def text(self) -> str:
        """Why it is what it is, in a line."""
        told = [finding.text for finding in self.findings if finding.kind == self.kind]
        return "; ".join(told) or f"nothing is {self.kind}"
