"""What a model gave for a request, and what one call of it was."""

from dataclasses import dataclass

from deployments.oip.tensors import Array


@dataclass(kw_only=True, eq=False, slots=True)  # not frozen: that takes half a microsecond of every request
class Prediction:
    """A request's outputs and where its time went, in nanoseconds since the epoch; a cached answer took none."""

    outputs: dict[str, Array]
    submitted_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    is_cached: bool = False
    """Whether the model gave this answer before and was not asked."""


@dataclass(kw_only=True, eq=False, slots=True)
class BatchDone:
    """What one call of the model was, for telemetry."""

    num_samples: int
    duration_s: float
    input_s: float
    """Of it, to make one batch of the requests' inputs."""
    output_s: float
    """Afterwards, to give each request its own rows."""
