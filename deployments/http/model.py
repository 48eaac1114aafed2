"""One model as an ASGI application: `/v2/models/<name>` and what lies below it. Knows nothing of Ray."""

import logging
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from deployments.errors import MethodNotAllowedError, NotFoundError, OverloadedError, RequestError
from deployments.execution.byte_budget import ByteBudget
from deployments.execution.meters import report_artifact
from deployments.execution.prediction import Prediction
from deployments.execution.predictor import Predictor
from deployments.http.asgi import JSON, ClientGone, error_body, header, path_below, read_body, respond, while_connected
from deployments.http.meters import RequestMeter, scheme_of
from deployments.oip import compression, generate, requests, responses
from deployments.oip.generate import GenerateRequest
from deployments.oip.model_config import PLATFORM, model_config
from deployments.oip.observation import trace_settings, unchanged
from deployments.oip.responses import Response
from deployments.oip.statistics import ModelStatistics
from deployments.oip.tensors import Array
from deployments.oip.urgency import TIMEOUT, seconds_left, urgency_of
from optimization.artifact.manifest import TensorSpec
from telemetry.emitting.emitter import Emitter

logger = logging.getLogger(__name__)

COMPRESS_FROM_BYTES = 1024
"""A smaller response is sent as it is, even to a client that takes compressed ones."""

_METHODS = {
    "": ("GET",),
    "/ready": ("GET",),
    "/infer": ("POST",),
    "/generate": ("POST",),
    "/generate_stream": ("POST",),
    "/config": ("GET",),
    "/stats": ("GET",),
    "/trace/setting": ("GET", "POST"),
}
_PATH = re.compile(rf"(?:/versions/(?P<version>[^/]+))?(?P<action>{'|'.join(_METHODS)})/?")
_ROUTES = {action: f"/v2/models/{{model}}{action}" for action in _METHODS}
EVENTS = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))


class ModelApp:
    """Answers the protocol for one model.

    GET  /v2/models/<name>[/versions/<version>]          what the model takes and gives
    GET  /v2/models/<name>[/versions/<version>]/ready    whether it answers
    POST /v2/models/<name>[/versions/<version>]/infer    predict
    POST /v2/models/<name>[/versions/<version>]/generate            predict step by step, all in one answer
    POST /v2/models/<name>[/versions/<version>]/generate_stream     the same, an event for each step
    GET  /v2/models/<name>[/versions/<version>]/config   the same in Triton's words, with the largest batch
    GET  /v2/models/<name>[/versions/<version>]/stats    what was answered, and how long it took
    GET, POST /v2/models/<name>/trace/setting            how many requests are traced
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        raw: TensorSpec | None = None,
        max_batch_size: int | None = None,
        max_body_bytes: int,
        budget: ByteBudget | None = None,
        emitter: Emitter,
        versions: Callable[[], Sequence[str]] | None = None,
        everywhere: Callable[[], Awaitable[list[ModelStatistics]]] | None = None,
    ) -> None:
        """`raw` is what a request may carry in place of the model's own inputs; `max_batch_size` what every replica is
        told, if not what this one found best; `budget` bounds the bytes of requests under way, without a bound if not
        given; `versions` tells which versions answer and `everywhere` what all replicas have counted, this one alone if
        not given.
        """
        self.predictor = predictor
        self._manifest = manifest = predictor.manifest
        self._versions = versions or (lambda: (manifest.version,))
        self._everywhere = everywhere
        self._max_body_bytes = max_body_bytes
        self._budget = budget or ByteBudget(sys.maxsize)
        self._outputs = tuple(spec.name for spec in manifest.outputs)
        self._types = {spec.name: spec.datatype for spec in manifest.outputs}
        self._emitter = emitter
        self._requests = RequestMeter(emitter)
        self._raw = raw
        self._max_batch_size = max_batch_size or predictor.limits.max_batch_size
        self._watch_clients = not predictor.is_inline

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""
        self.predictor.start()

    def serve(self) -> None:
        """Report as this version: requests that name none come here."""
        self._emitter.serves(self._manifest.version)
        report_artifact(self._manifest, self._emitter)

    async def stop(self) -> None:
        """Let go of the model."""
        await self.predictor.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        start_ns = time.time_ns()
        status, route, error, prediction = 200, "", None, None
        response: Response | None
        try:
            action = self._action(scope)
            route = _ROUTES[action]
            if action == "/infer":
                response, prediction = await self._infer(scope, receive)
            elif action == "/generate":
                request, emitted = await self._steps(scope, receive)
                body = generate.answer(request, self._manifest, [each async for each in emitted])
                response = Response(body=body, headers=JSON)
            elif action == "/generate_stream":
                response, error = None, await self._stream(scope, receive, send)
            else:
                response = Response(body=orjson.dumps(await self._tell(action, scope, receive)), headers=JSON)
        except ClientGone:
            return
        except RequestError as problem:
            status, error = problem.status, str(problem)
            response = Response(body=error_body(error), headers=JSON)
            if isinstance(problem, OverloadedError):
                response = Response(body=response.body, headers=(*JSON, problem.retry_after))
        except Exception:
            logger.exception("a request for model %r failed", self._manifest.name)
            status, error = 500, self._failed()
            response = Response(body=error_body(error), headers=JSON)
        if response:
            await respond(send, status, response.body, response.headers)
        end_ns = time.time_ns()
        if route == _ROUTES["/infer"]:
            self.predictor.statistics.request(start_ns, end_ns, prediction, has_failed=status >= 400)
        self._requests.request(
            method=scope["method"],
            route=route,
            status=status,
            start_ns=start_ns,
            end_ns=end_ns,
            traceparent=header(scope, b"traceparent"),
            scheme=scheme_of(scope),
            error=error,
            prediction=prediction,
        )

    def _action(self, scope: Scope) -> str:
        """What the path asks of this model: "", "/ready" or "/infer".

        Raises:
            NotFoundError: there is no such path or version.
            MethodNotAllowedError: it takes another method.
        """
        below = path_below(scope)
        match = _PATH.fullmatch(below)
        if match is None:
            raise NotFoundError(f"model {self._manifest.name!r} has no {below!r}, only {', '.join(_ROUTES.values())}")
        version, action = match["version"], match["action"]
        if version not in (None, self._manifest.version):
            raise NotFoundError(
                f"model {self._manifest.name!r} has version {self._manifest.version!r} ready, not {version!r}"
            )
        if scope["method"] not in _METHODS[action]:
            raise MethodNotAllowedError(
                f"{_ROUTES[action]} takes {' or '.join(_METHODS[action])}, got {scope['method']}"
            )
        return action

    async def _steps(self, scope: Scope, receive: Receive) -> tuple[GenerateRequest, AsyncIterator[dict[str, Any]]]:
        self.predictor.admit()
        timeout_s = seconds_left(header(scope, TIMEOUT))
        body = await self._body(scope, receive)
        try:
            request = generate.parse(body, self._manifest, self._raw)
        finally:
            self._budget.release(len(body))
        urgency = urgency_of(request.parameters, timeout_s)

        async def step(inputs: Mapping[str, Array], left_s: float | None) -> Mapping[str, Array]:
            answer = self.predictor.predict(inputs, replace(urgency, timeout_s=left_s))
            return await while_connected(answer, receive)

        return request, generate.steps(request, self._manifest, step, urgency.timeout_s)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> str | None:
        """Send an event for each step; return what ended the stream early, if anything did.

        What fails before the first event is raised, and so answered with a status of its own.
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
            error = self._failed()
        if error:
            await _send_event(send, generate.error_event(error))
        await send({"type": "http.response.body", "body": b""})
        return error

    def _failed(self) -> str:
        return f"model {self._manifest.name!r} failed on this request; the server's log says why"

    async def _infer(self, scope: Scope, receive: Receive) -> tuple[Response, Prediction]:
        self.predictor.admit()
        timeout_s = seconds_left(header(scope, TIMEOUT))
        body = await self._body(scope, receive)
        try:
            return await self._predict(body, timeout_s, scope, receive)
        finally:
            self._budget.release(len(body))

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The request's body, unpacked; it reserves its bytes."""
        body = await read_body(scope, receive, self._max_body_bytes, self._budget)
        encoding = header(scope, b"content-encoding")
        if not encoding:
            return body
        try:
            unpacked = compression.decompress(body, encoding, self._max_body_bytes)
        finally:
            self._budget.release(len(body))
        self._budget.reserve(len(unpacked))
        return unpacked

    async def _predict(
        self, body: bytes, timeout_s: float | None, scope: Scope, receive: Receive
    ) -> tuple[Response, Prediction]:
        length = header(scope, requests.HEADER_LENGTH)
        request = requests.decode(body, length, self._manifest.inputs, self._outputs, self._raw)
        urgency = urgency_of(request.parameters, timeout_s)
        answer = self.predictor.timed(request.inputs, urgency)
        prediction = await (while_connected(answer, receive) if self._watch_clients else answer)
        manifest = self._manifest
        response = responses.encode(
            manifest.name, manifest.version, request, prediction.outputs, self._types, manifest.labels
        )
        if self.predictor.keeps_answers:
            cache = (b"x-cache", b"hit" if prediction.is_cached else b"miss")
            response = replace(response, headers=(*response.headers, cache))
        return _compressed(response, header(scope, b"accept-encoding")), prediction

    async def _tell(self, action: str, scope: Scope, receive: Receive) -> Any:
        match action:
            case "/ready":
                return {"name": self._manifest.name, "ready": True, "live": True}
            case "/config":
                return model_config(
                    self._manifest,
                    is_batched=self.predictor.limits.is_batched,
                    max_request_samples=self.predictor.limits.max_request_samples,
                    max_batch_size=self._max_batch_size,
                )
            case "/stats":
                told = await self._everywhere() if self._everywhere else [self.predictor.statistics.snapshot()]
                named = "/versions/" in scope["path"]
                return {
                    "model_stats": [each for each in told if not named or each["version"] == self._manifest.version]
                }
            case "/trace/setting":
                body = await read_body(scope, receive, self._max_body_bytes)
                return unchanged(trace_settings(self._emitter.trace_ratio), body, "trace_ratio in serve_config.yaml")
            case _:
                return self._describe()

    def _describe(self) -> dict[str, Any]:
        name = self._manifest.name
        return {
            "name": name,
            "versions": list(self._versions()),
            "platform": PLATFORM,
            "inputs": [responses.describe(spec) for spec in self._manifest.inputs],
            "outputs": [responses.describe(spec) for spec in self._manifest.outputs],
            **({"raw_input": responses.describe(self._raw)} if self._raw else {}),
        }


async def _send_event(send: Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event, "more_body": True})


def _compressed(response: Response, accepted: str | None) -> Response:
    if accepted is None or len(response.body) < COMPRESS_FROM_BYTES:
        return response
    encoding = compression.choose_encoding(accepted)
    if encoding is None:
        return response
    headers = (*response.headers, (b"content-encoding", encoding.encode()))
    return Response(body=compression.compress(response.body, encoding), headers=headers)
