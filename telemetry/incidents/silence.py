"""What nobody wants to be told about for a while."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from telemetry.watching.alerts import Alert


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Alerts that match are recorded and shown, but nobody is told of them."""

    id: int
    service: str = "*"
    """A pattern in which `*` stands for anything, as are the next two."""
    signal: str = "*"
    instance: str = "*"
    until_s: float
    by: str
    why: str
    made_s: float

    def covers(self, alert: Alert, now_s: float) -> bool:
        """Whether nobody should be told of `alert` now."""
        return now_s < self.until_s and all(
            fnmatchcase(value, pattern)
            for value, pattern in (
                (alert.service, self.service),
                (alert.signal, self.signal),
                (alert.instance, self.instance),
            )
        )
