"""What a replica answers that is asked for some rows of a request another replica got.

They are computed as a request's are, in its turn and within its time, and not counted as one: the other replica does.
"""

import time
from collections.abc import Callable

from deployments.batching.calls import Outputs
from deployments.cascade.cascade import CascadePredictor
from deployments.errors import OverloadedError, UnavailableError
from deployments.execution.byte_budget import ByteBudget
from deployments.execution.predictor import Predictor
from deployments.http.model import ModelApp
from deployments.replicas.held import Held
from deployments.scatter.part import Part, Refusal
from telemetry import conventions
from telemetry.emitting.emitter import Emitter


async def answered(
    part: Part, find: Callable[[str], Held[ModelApp] | None], budget: ByteBudget, emitter: Emitter
) -> Outputs | Refusal:
    """Outputs for the rows by the version that they name, which `find` finds; a refusal where this replica does not
    hold it or has no room. `emitter` reports it as a span of the request's trace.

    Raises:
        RequestError: the request itself cannot be answered, or not in its time.
        NotByRowsError, UnlikePartsError: outputs are not by rows.
    """
    start_ns = time.time_ns()
    failed: str | None = "CancelledError"
    try:
        answer = await _answered(part, find, budget)
        failed = type(answer).__name__ if isinstance(answer, Refusal) else None
    except Exception as error:
        failed = type(error).__name__
        raise
    finally:
        if part.trace is not None and (trace := emitter.begin(*part.trace)).is_sampled:
            version = ((conventions.MODEL_VERSION, part.version),)
            end_ns = time.time_ns()
            emitter.spans.request(trace, "part", start_ns=start_ns, end_ns=end_ns, attributes=version, error=failed)
    return answer


async def _answered(part: Part, find: Callable[[str], Held[ModelApp] | None], budget: ByteBudget) -> Outputs | Refusal:
    held = find(part.version)
    if held is None:
        return Refusal(reason=f"it does not hold version {part.version!r}")
    size_bytes = sum(array.nbytes for array in part.inputs.values())
    try:
        budget.reserve(size_bytes)
    except OverloadedError as error:
        return Refusal(reason=str(error))
    predictor = held.app.predictor
    if isinstance(predictor, CascadePredictor):
        predictor = predictor.student  # who got the request asks the teacher
    assert isinstance(predictor, Predictor), "replicas of one model alone share its requests out"
    held.ongoing += 1
    try:
        return await predictor.part(part.inputs, part.urgency)
    except (OverloadedError, UnavailableError) as error:
        return Refusal(reason=str(error))
    finally:
        held.ongoing -= 1
        budget.release(size_bytes)
