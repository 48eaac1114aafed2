"""What a user promises of a service."""

from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

from telemetry.series.frame import Frame


class Objective(BaseModel):
    """Which share of a service's requests must be good, over 30 days."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(min_length=1, max_length=60)
    """How alerts and the page call it, such as "answered"; each name once."""
    service: str = Field(min_length=1)
    """The services it holds for, each on its own: a name, or a pattern such as `*`."""
    share: float = Field(gt=0, lt=1)
    """Share of requests that must be good, such as 0.999; what is left is the error budget."""
    latency_s: float | None = Field(default=None, gt=0)
    """Seconds within which a request must be answered to be good. Left out: any answer without a server error is."""

    def holds_for(self, service: str) -> bool:
        """Whether it is an objective of this service."""
        return fnmatchcase(service, self.service)

    def count(self, frame: Frame) -> tuple[float, float]:
        """Good requests and all requests of a frame.

        Durations come in buckets, in which they are taken as evenly spread, and errors' among them: a request that
        failed fast counts as bad at most once.
        """
        num, num_failed = float(frame.num_requests), float(frame.num_server_errors)
        if self.latency_s is None or not num:
            return num - num_failed, num
        num_slow = num * (1.0 - frame.durations.share_below(self.latency_s))
        return max(0.0, num - num_failed - num_slow), num
