"""One stage of a pipeline in this process: the versions of its model, or its function, and what is asked of them.

call -> its version -> inputs: those in shared memory, its rows -> predictor, in its turn and time -> outputs
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol

from deployments.errors import OverloadedError, RequestError, UnavailableError
from deployments.execution.byte_budget import ByteBudget
from deployments.execution.prediction import Prediction
from deployments.execution.predictor import Predictor
from deployments.http.meters import RequestMeter
from deployments.oip.tensors import Array
from deployments.oip.urgency import Urgency
from deployments.replicas.versions import Versions
from deployments.scatter.part import Refusal
from deployments.stages.stage_call import Failure, Missing, StageAnswer, StageCall, Stored, TensorGoneError, TensorStore
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.trace import current

logger = logging.getLogger(__name__)

INTERNAL_ERROR = 500

_Answered = tuple[StageAnswer, int, str | None, Prediction | None]
"""What is answered, as which status, why not, and where the time went."""


class Predicts(Protocol):
    """Tensors in, tensors out, as `deployments.execution.predictor.Predictor` does."""

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""

    async def stop(self) -> None:
        """Finish what is under way, refuse the rest and let go of the model."""

    async def predict(self, tensors: Mapping[str, Array], urgency: Urgency = ...) -> dict[str, Array]:
        """The outputs for these inputs."""


class StageVersion:
    """One version of a stage's model; as `deployments.replicas.held.Served`."""

    def __init__(self, predictor: Predicts, version: str, emitter: Emitter) -> None:
        self.predictor = predictor
        self._version = version
        self._emitter = emitter

    def start(self) -> None:
        """Begin to take requests; the event loop runs."""
        self.predictor.start()

    def serve(self) -> None:
        """Report as this version."""
        self._emitter.serves(self._version)

    async def stop(self) -> None:
        """Let go of the model; no request is under way."""
        await self.predictor.stop()


class Worker:
    """Answers what a stage is asked; as `deployments.stages.stage_call.StageReplica`. Belongs to one event loop."""

    def __init__(
        self,
        name: str,
        route: str,
        versions: Versions[StageVersion],
        *,
        budget: ByteBudget,
        store: TensorStore,
        emitter: Emitter,
    ) -> None:
        """`route` is what the requests are counted under, as of a model; `budget` bounds the bytes of their inputs."""
        self.name = name
        self.versions = versions
        self._route = route
        self._budget = budget
        self._store = store
        self.emitter = emitter
        self._meters: dict[str, RequestMeter] = {}

    def start(self) -> None:
        """Begin to take calls; the event loop runs."""
        self.versions.start()
        self.emitter.start()

    async def stop(self) -> None:
        """Answer what has begun, and let go of all versions."""
        await self.versions.stop()
        await asyncio.to_thread(self.emitter.shutdown)

    async def answer(self, call: StageCall) -> StageAnswer:
        """Outputs, or why there are none."""
        start_ns = time.time_ns()
        trace = self.emitter.begin(*call.trace or (None,))
        entered = current.set(trace)
        try:
            answer, status, error, prediction = await self._answer(call)
        finally:
            current.reset(entered)
        error_type = answer.kind if isinstance(answer, Failure) else type(answer).__name__ if error else None
        self._meter(call.version).request(
            method="POST",
            route=self._route,
            status=status,
            start_ns=start_ns,
            end_ns=time.time_ns(),
            trace=trace,
            error=error,
            error_type=error_type,
            prediction=prediction,
        )
        return answer

    def _meter(self, version: str) -> RequestMeter:
        meter = self._meters.get(version)
        if meter is None:
            meter = self._meters[version] = RequestMeter(self.emitter, version)
        return meter

    async def _answer(self, call: StageCall) -> _Answered:
        held = self.versions.find(call.version)
        if held is None:
            return _refused(UnavailableError(f"it does not hold version {call.version!r}"))
        held.ongoing += 1
        size_bytes = 0
        try:
            inputs, missing = await self._inputs(call)
            if missing:
                return Missing(inputs=missing), UnavailableError.status, f"inputs have gone: {', '.join(missing)}", None
            needed_bytes = sum(array.nbytes for array in inputs.values())
            self._budget.reserve(needed_bytes)
            size_bytes = needed_bytes
            predictor = held.app.predictor
            if not isinstance(predictor, Predictor):
                return dict(await predictor.predict(inputs, call.urgency)), 200, None, None
            prediction = await predictor.timed(inputs, call.urgency)
            return dict(prediction.outputs), 200, None, prediction
        except (OverloadedError, UnavailableError) as error:
            return _refused(error)
        except RequestError as error:
            return Failure(kind=type(error).__name__, message=str(error)), error.status, str(error), None
        except Exception as error:
            logger.exception("stage %s failed", self.name)
            message = f"{type(error).__name__}: {error}"
            return Failure(kind=type(error).__name__, message=message), INTERNAL_ERROR, message, None
        finally:
            held.ongoing -= 1
            self._budget.release(size_bytes)

    async def _inputs(self, call: StageCall) -> tuple[dict[str, Array], tuple[str, ...]]:
        """The arrays, each with the call's rows; and which of them are gone."""
        found: dict[str, Array] = {}
        missing: list[str] = []
        for name, tensor in call.inputs.items():
            try:
                array = await self._store.get(tensor) if isinstance(tensor, Stored) else tensor
            except TensorGoneError:
                missing.append(name)
                continue
            found[name] = array[call.rows] if call.rows is not None and name in call.all_rows else array
        return found, tuple(missing)


def _refused(error: OverloadedError | UnavailableError) -> _Answered:
    retry_after_s = error.retry_after_s if isinstance(error, OverloadedError) else 0.0
    return Refusal(reason=str(error), retry_after_s=retry_after_s), error.status, str(error), None
