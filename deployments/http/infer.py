"""`/infer`: a body or a message becomes tensors, the predictor is asked, and its outputs go back in the same form."""

import time
from collections.abc import Awaitable
from dataclasses import replace

from google.protobuf.message import Message
from starlette.types import Receive, Scope

from deployments.execution.predicting import Predicting
from deployments.execution.prediction import Prediction
from deployments.http.asgi import ParsedBody, header, parsed_body, while_connected
from deployments.http.bodies import Bodies
from deployments.monitoring.monitor import Monitor
from deployments.oip import compression, infer_message, requests, responses
from deployments.oip.responses import Response
from deployments.oip.urgency import TIMEOUT, seconds_left, urgency_of
from deployments.rollout.witness import Witness
from optimization.artifact.manifest import TensorSpec

REQUEST_ID = b"x-request-id"
"""Names a request whose body has no `id`."""
COMPRESS_FROM_BYTES = 1024
"""A smaller response is sent as it is, even to a client that takes compressed ones."""


class Infer:
    """Answers requests that are predicted in one step."""

    def __init__(
        self,
        predictor: Predicting,
        bodies: Bodies,
        raw: TensorSpec | None,
        monitor: Monitor | None = None,
        witness: Witness | None = None,
    ) -> None:
        self._predictor = predictor
        self._bodies = bodies
        self._raw = raw
        self._monitor = monitor
        self._witness = witness or Witness()
        self._judge = monitor.shadow.judge if monitor is not None and monitor.shadow is not None else None
        self._manifest = manifest = predictor.manifest
        self._outputs = tuple(spec.name for spec in manifest.outputs)
        self._types = {spec.name: spec.datatype for spec in manifest.outputs}
        self._watch_clients = not predictor.is_inline

    def answer(self, scope: Scope, receive: Receive) -> Awaitable[tuple[Response | Message, Prediction]]:
        """The response to a request, a message where it is one.

        Raises:
            RequestError: it cannot be answered as it is.
            ClientGone: the connection closed.
        """
        self._predictor.admit()
        timeout_s = seconds_left(header(scope, TIMEOUT))
        parsed = parsed_body(scope)
        if parsed is not None:
            return self._answer_message(parsed, timeout_s)
        return self._answer_body(timeout_s, scope, receive)

    async def _answer_body(
        self, timeout_s: float | None, scope: Scope, receive: Receive
    ) -> tuple[Response, Prediction]:
        manifest = self._manifest
        body = await self._bodies.read(scope, receive)
        try:
            length = header(scope, requests.HEADER_LENGTH)
            request = requests.decode(body, length, manifest.inputs, self._outputs, self._raw)
            decoded_ns = time.time_ns()
            answer = self._predictor.timed(request.inputs, urgency_of(request.parameters, timeout_s))
            prediction = await (while_connected(answer, receive) if self._watch_clients else answer)
            prediction.decoded_ns = decoded_ns
            response = responses.encode(
                manifest.name, manifest.version, request, prediction.outputs, self._types, manifest.labels
            )
            if self._monitor is not None:
                self._monitor.see(request.id or header(scope, REQUEST_ID), request.inputs, prediction.outputs)
            if self._witness.see is not None:
                self._witness.see(manifest, request.inputs, prediction.outputs, self._judge)
        finally:
            self._bodies.release(len(body))
        if self._predictor.keeps_answers:
            cache = (b"x-cache", b"hit" if prediction.is_cached else b"miss")
            response = replace(response, headers=(*response.headers, cache))
        return _compressed(response, header(scope, b"accept-encoding")), prediction

    async def _answer_message(self, parsed: ParsedBody, timeout_s: float | None) -> tuple[Message, Prediction]:
        manifest = self._manifest
        self._bodies.reserve(parsed.size_bytes)
        try:
            request = infer_message.decode(parsed.take(), manifest.inputs, self._outputs, self._raw)
            decoded_ns = time.time_ns()
            prediction = await self._predictor.timed(request.inputs, urgency_of(request.parameters, timeout_s))
            prediction.decoded_ns = decoded_ns
            message = infer_message.encode(
                manifest.name, manifest.version, request, prediction.outputs, self._types, manifest.labels
            )
            if self._monitor is not None:
                self._monitor.see(request.id, request.inputs, prediction.outputs)
            if self._witness.see is not None:
                self._witness.see(manifest, request.inputs, prediction.outputs, self._judge)
        finally:
            self._bodies.release(parsed.size_bytes)
        return message, prediction


def _compressed(response: Response, accepted: str | None) -> Response:
    if accepted is None or len(response.body) < COMPRESS_FROM_BYTES:
        return response
    encoding = compression.choose_encoding(accepted)
    if encoding is None:
        return response
    headers = (*response.headers, (b"content-encoding", encoding.encode()))
    return Response(body=compression.compress(response.body, encoding), headers=headers)
