"""What a user may say about when a signal is unusual."""

from pydantic import BaseModel, ConfigDict, Field


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
