"""Some rows of a large request, as one replica asks another for them, and what that answers."""

from dataclasses import dataclass
from typing import Protocol

from deployments.batching.calls import Outputs
from deployments.batching.waiting import Inputs
from deployments.oip.urgency import Urgency
from telemetry.emitting.trace import Passed


class UnansweredError(Exception):
    """The replica that was asked did not answer its part; another may."""


class LostError(UnansweredError):
    """The replica went while it had the part; perhaps the part is why."""


class GoneError(UnansweredError):
    """The replica had gone before it was asked: it never had the part."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows that `version` of the model shall answer, and no other."""

    version: str
    inputs: Inputs
    urgency: Urgency
    """Its time is what is left of the whole request's."""
    trace: Passed | None = None
    """The span that it is asked under."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a replica does not take a part; a value, for an exception costs a stack and its class on the way."""

    reason: str
    retry_after_s: float = 0.0
    """Where it has no room, when it may have some again."""


class Replica(Protocol):
    """Another replica of the model."""

    @property
    def name(self) -> str:
        """What tells it from the others."""

    async def answer(self, part: Part) -> Outputs:
        """Outputs for its rows; cancelled there where the caller is.

        Raises:
            UnansweredError: it refuses, or has gone.
            RequestError: the request itself cannot be answered, or not in its time.
        """
