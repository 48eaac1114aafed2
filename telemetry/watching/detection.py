"""What a user may say about when a signal is unusual."""

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Levels that are unusual whatever was usual; saying that they are normal does not move them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    latency_s: float | None = Field(default=None, gt=0)
    """95th percentile of the request duration, seconds."""
    error_ratio: float | None = Field(default=None, gt=0, lt=1)
    """Share of requests that fail with a server error."""


class DetectionConfig(BaseModel):
    """When a signal is unusual."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    latency_score: float = Field(default=8.0, gt=0)
    """Robust standard deviations above the median from which a latency is unusual; one is taken as a quarter of the
    median at least."""
    latency_shift_s: float = Field(default=0.005, gt=0)
    """Seconds above the median below which a latency is never unusual."""
    error_shift: float = Field(default=0.05, gt=0, lt=1)
    """Share of failed requests above the usual share from which errors are unusual."""
    throughput_drop: float = Field(default=0.5, gt=0, lt=1)
    """Share of the usual requests that must be missing for their rate to be unusual."""
    limits: dict[str, Limits] = {}
    """Limits by service; those of `*` hold for services that are not named."""

    def limits_of(self, service: str) -> Limits:
        """What holds for `service`."""
        return self.limits.get(service) or self.limits.get("*") or Limits()
