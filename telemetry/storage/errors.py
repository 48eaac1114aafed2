"""What storage raises."""

from telemetry.errors import TelemetryError


class StorageError(TelemetryError):
    """The folder cannot be used, or what is asked for cannot be answered."""
