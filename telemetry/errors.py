"""What goes wrong that whoever runs telemetry can mend: the message is *name, rule, what was got*."""


class TelemetryError(Exception):
    """A command ends with this, printed, and exit code 2."""


class ConfigurationError(TelemetryError):
    """A setting, in a file or on the command line, is not what it must be."""
