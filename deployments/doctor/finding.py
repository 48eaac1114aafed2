"""One thing that was looked at: what it is, whether that is fine, and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether something is as it should be."""

    FINE = "fine"
    WARNING = "warning"
    """It serves, but may not for long, or not as well as it could."""
    FAULT = "fault"
    """It does not serve, or not all of it."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one thing."""

    where: str
    """A host, a file, an application."""
    what: str
    found: str
    verdict: Verdict = Verdict.FINE
    mend: str = ""
    """What to do; empty where all is fine."""


def worst(findings: Iterable[Finding]) -> Verdict:
    """The verdict on all together."""
    found = {finding.verdict for finding in findings}
    return next((each for each in (Verdict.FAULT, Verdict.WARNING) if each in found), Verdict.FINE)
