"""What to do about each kind of alert: docs/telemetry.md has a section for each."""

PAGE = "docs/telemetry.md"
RUNBOOK = "runbook.html"
"""The same beside the collector's page."""


def kind_of(signal: str) -> str:
    """The kind of a signal: an objective's, whatever its name, is `objective`."""
    return signal.partition(":")[0]


def runbook_of(signal: str, page: str = PAGE) -> str:
    """Where it says what to do about alerts of `signal`; `page` is where people read docs/telemetry.md."""
    return f"{page}#{kind_of(signal).replace('_', '-')}"
