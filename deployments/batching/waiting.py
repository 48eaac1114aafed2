"""A request in the queue, or the part of a large one that one call may take."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.errors import DeadlineError
from deployments.execution.prediction import Prediction
from deployments.oip.tensors import Array

Inputs = Mapping[str, Array]


@dataclass(kw_only=True, eq=False, slots=True)
class Waiting:
    """Inputs that wait for a call, and the answer that is waited for."""

    inputs: Inputs
    rows: int
    length: int
    """Tokens of its longest sequence; 1 where nothing is padded."""
    work: int
    """Rows, times length where inputs are padded."""
    answer: asyncio.Future[Prediction]
    is_alone: bool = False
    """Whether its outputs are its own whatever their shape: it shares no call and is no part of another request."""
    timer: asyncio.TimerHandle | None = None
    taken: bool = False
    submitted_ns: int = field(default_factory=time.time_ns)


def fail(batch: Sequence[Waiting], error: Exception) -> None:
    """Tell everyone in `batch` who still waits what went wrong."""
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def expire(waiting: Waiting, timeout_s: float) -> None:
    """Its time is up."""
    fail((waiting,), late(timeout_s))


def late(timeout_s: float) -> DeadlineError:
    """What a request is told that was not answered in its time."""
    return DeadlineError(f"the request was not answered within its {timeout_s:g} s")
