"""What a model gave for a request, and what one call of it was."""

from dataclasses import dataclass

from deployments.oip.tensors import Array
from telemetry.emitting.spans import BatchSpan


@dataclass(kw_only=True, eq=False, slots=True)  # not frozen: that takes half a microsecond of every request
class Prediction:
    """A request's outputs and where its time went, in nanoseconds since the epoch; a cached answer took none."""

    outputs: dict[str, Array]
    submitted_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    is_cached: bool = False
    """Whether the model gave this answer before and was not asked."""
    decoded_ns: int = 0
    """When the request's tensors were there; 0 where nobody has looked."""
    call: "BatchDone | None" = None
    """The call that answered it, the first of several."""


@dataclass(kw_only=True, eq=False, slots=True)
class BatchDone:
    """What one call of the model was, for telemetry."""

    num_samples: int
    duration_s: float
    input_s: float
    """Of it, to make one batch of the requests' inputs."""
    output_s: float
    """Afterwards, to give each request its own rows."""
    raw_s: float = 0.0
    """Of the duration, to make tensors of raw input."""
    num_requests: int = 1
    span: BatchSpan | None = None
    """The call as a span, once one of its requests is reported."""
