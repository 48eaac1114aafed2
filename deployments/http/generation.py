"""`/generate` and `/generate_stream`: a request becomes steps of the predictor, all in one answer or an event each."""

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope, Send

from deployments.errors import RequestError, failed
from deployments.execution.predicting import Predicting
from deployments.http.asgi import JSON, ClientGone, header, while_connected
from deployments.http.bodies import Bodies
from deployments.oip import generate
from deployments.oip.generate import GenerateRequest
from deployments.oip.responses import Response
from deployments.oip.tensors import Array
from deployments.oip.urgency import TIMEOUT, seconds_left, urgency_of
from optimization.artifact.manifest import TensorSpec

logger = logging.getLogger(__name__)

EVENTS = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))


class Generation:
    """Answers requests that are predicted step by step."""

    def __init__(self, predictor: Predicting, bodies: Bodies, raw: TensorSpec | None) -> None:
        self._predictor = predictor
        self._bodies = bodies
        self._raw = raw
        self._manifest = predictor.manifest

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        """All steps in one answer.

        Raises:
            RequestError: it cannot be answered as it is.
            ClientGone: the connection closed.
        """
        request, emitted = await self._steps(scope, receive)
        return Response(body=generate.answer(request, self._manifest, [each async for each in emitted]), headers=JSON)

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> str | None:
        """Send an event for each step; return what ended the stream early, if anything did.

        What fails before the first event is raised, and so answered with a status of its own.

        Raises:
            RequestError: it cannot be answered as it is.
            ClientGone: the connection closed.
        """
        request, emitted = await self._steps(scope, receive)
        first = await anext(emitted)
        await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
        error = None
        try:
            await _send_event(send, generate.event(request, self._manifest, first))
            async for each in emitted:
                await _send_event(send, generate.event(request, self._manifest, each))
        except RequestError as problem:
            error = str(problem)
        except ClientGone:
            raise
        except Exception:
            logger.exception("a stream of model %r failed", self._manifest.name)
            error = failed(self._manifest.name)
        if error:
            await _send_event(send, generate.error_event(error))
        await send({"type": "http.response.body", "body": b""})
        return error

    async def _steps(self, scope: Scope, receive: Receive) -> tuple[GenerateRequest, AsyncIterator[dict[str, Any]]]:
        self._predictor.admit()
        timeout_s = seconds_left(header(scope, TIMEOUT))
        body = await self._bodies.read(scope, receive)
        try:
            request = generate.parse(body, self._manifest, self._raw)
        finally:
            self._bodies.release(len(body))
        urgency = urgency_of(request.parameters, timeout_s)

        async def step(inputs: Mapping[str, Array], left_s: float | None) -> Mapping[str, Array]:
            answer = self._predictor.predict(inputs, replace(urgency, timeout_s=left_s))
            return await while_connected(answer, receive)

        return request, generate.steps(request, self._manifest, step, urgency.timeout_s)


async def _send_event(send: Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event, "more_body": True})
