"""What one stage of a pipeline is asked, and what it answers.

Answers are values whatever they are: an exception costs a stack and its class on the way, and not every transport can
carry one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deployments.errors import DeadlineError, RequestError, UnavailableError
from deployments.oip.tensors import Array
from deployments.oip.urgency import Urgency
from deployments.scatter.part import Refusal
from telemetry.emitting.trace import Passed

LARGE_BYTES = 2**20
"""From so many bytes on a tensor lies in shared memory and is named to whoever takes it; smaller ones are sent."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor that lies in shared memory."""

    reference: Any


Tensor = Array | Stored
Tensors = Mapping[str, Tensor]
Rows = NDArray[np.bool_]


class TensorGoneError(Exception):
    """A tensor is not in shared memory any more: the process that put it there has gone."""


class TensorStore(Protocol):
    """Memory that the processes of a node share, and nodes fetch from each other."""

    def put(self, array: Array) -> Stored:
        """Lay a tensor there; it stays as long as somebody has what names it, and this process lives."""

    async def get(self, stored: Stored) -> Array:
        """The tensor, without a copy where it lies on this node.

        Raises:
            TensorGoneError: it is not there.
        """


@dataclass(frozen=True, kw_only=True)
class StageCall:
    """What `version` of a stage shall answer, and no other."""

    version: str
    inputs: Tensors
    urgency: Urgency
    """Its time is what is left of the whole request's."""
    rows: Rows | None = None
    """Which of the request's rows it is given; all if not given."""
    all_rows: frozenset[str] = frozenset()
    """Inputs that have the other rows, too."""
    trace: Passed | None = None
    """The span that it is asked under."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The call was tried and cannot be answered, here or elsewhere."""

    kind: str
    """Name of an error of `deployments.errors` that the client is told; of another, it is told nothing."""
    message: str

    def error(self, stage: str) -> Exception:
        """What to raise."""
        if known := _ERRORS.get(self.kind):
            return known(self.message)
        return StageFailedError(f"stage {stage!r}: {self.message}")


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Inputs that are in shared memory no more."""

    inputs: tuple[str, ...]


class StageFailedError(Exception):
    """A stage raised what is no fault of the request's; its replica's log has the trace."""


StageAnswer = dict[str, Tensor] | Refusal | Failure | Missing

_ERRORS: dict[str, type[RequestError]] = {
    each.__name__: each for each in (RequestError, DeadlineError, UnavailableError)
}


def is_large(tensor: Tensor) -> bool:
    """Whether it belongs into shared memory, or lies there."""
    return isinstance(tensor, Stored) or tensor.nbytes >= LARGE_BYTES


def stored(tensor: Tensor, store: TensorStore) -> Tensor:
    """The same, in shared memory where it is large."""
    return tensor if isinstance(tensor, Stored) or not is_large(tensor) else store.put(tensor)


class StageReplica(Protocol):
    """A replica of a stage, in this process or another."""

    @property
    def name(self) -> str:
        """What tells it from the others."""

    async def answer(self, call: StageCall) -> StageAnswer:
        """What it answers; cancelled there where the caller is.

        Raises:
            LostError, GoneError: it has gone, with the call or before.
        """
