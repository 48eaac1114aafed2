"""The teacher of a cascade where it is an application of its own, asked by Ray.

A part goes to one of its replicas as Serve's handles send calls, past every port; its tensors go by Ray's object store.
"""

import asyncio
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from deployments import ray_private
from deployments.batching.calls import Outputs
from deployments.batching.waiting import Inputs
from deployments.errors import RequestError
from deployments.oip.urgency import Urgency
from deployments.replicas.repository import DEPLOYMENT
from deployments.scatter.part import LostError, Part, Refusal, UnansweredError
from telemetry.emitting.trace import Asked


class RemoteTeacher:
    """A model of this cluster that answers by one version; as `deployments.cascade.cascade.Teacher`."""

    def __init__(self, model: str, version: str) -> None:
        self._model = model
        self._version = version
        self._handle: DeploymentHandle[Any] | None = None

    def start(self) -> None:
        """Nothing: it is looked for when it is needed, for it may start later."""

    async def stop(self) -> None:
        """Nothing: it is no part of this replica."""

    async def answer(self, inputs: Inputs, urgency: Urgency) -> Outputs:
        """Outputs for these rows, from one of its replicas; cancelled there where the caller is.

        Raises:
            UnansweredError: it does not hold that version or has no room, it fails, or there is no replica.
            RequestError: it cannot answer them, or not in their time.
        """
        with Asked(f"ask {self._model}") as asked:
            return await self._answer(Part(version=self._version, inputs=inputs, urgency=urgency, trace=asked.passed))

    async def _answer(self, part: Part) -> Outputs:
        try:
            response = self._found().answer_part.remote(part)
            try:
                answer: Outputs | Refusal = await response
            except asyncio.CancelledError:
                response.cancel()  # type: ignore[no-untyped-call]
                raise
        except RayTaskError as error:
            if isinstance(error.cause, RequestError):
                raise error.cause from None
            raise UnansweredError(f"it failed: {type(error.cause).__name__}") from error
        except (RayError, RayServeException, DeploymentUnavailableError) as error:
            raise LostError(f"model {self._model!r} has no replica that answers: {type(error).__name__}") from error
        if isinstance(answer, Refusal):
            raise UnansweredError(answer.reason)
        return answer

    def _found(self) -> DeploymentHandle[Any]:
        """Its handle, which belongs to the event loop that it is made in; the first time Ray's controller is asked.

        Raises:
            LostError: there is no such application.
        """
        if self._handle is None:
            try:
                self._handle = ray_private.handle_for_large(DEPLOYMENT, self._model)
            except KeyError as error:
                raise LostError(f"the cluster has no model {self._model!r}") from error
        return self._handle
