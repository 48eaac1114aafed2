"""What the journal raises."""

from telemetry.errors import TelemetryError


class JournalError(TelemetryError):
    """The journal cannot take a request, or cannot be opened; what was acknowledged before is still there."""
