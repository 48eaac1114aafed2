"""What is told of an incident."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Notification:
    """An incident as it stands; texts are one line each."""

    incident: str
    """The incident's id; whoever is told twice knows by it and `state` that it is the same."""
    state: Literal["open", "ended"]
    severity: Literal["page", "ticket"]
    service: str
    title: str
    """What is wrong, in a sentence."""
    cause: str = ""
    """What probably led to it; empty where nothing points to one."""
    started_s: float
    ended_s: float | None = None
    link: str = ""
    """The incident's place on the page; empty where the page's address is not known."""
    runbook: str = ""
    """Where it says what to do about the most severe of its alerts."""

    @property
    def headline(self) -> str:
        """One line for a subject or a chat."""
        return f"{'Ended' if self.state == 'ended' else 'Open'}: {self.title}"

    def lines(self) -> list[str]:
        """Whatever is known, a line each."""
        told = [self.title, f"Probable cause: {self.cause}" if self.cause else "", self.link, self.runbook]
        return [line for line in told if line]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
