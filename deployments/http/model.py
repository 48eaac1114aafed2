"""One model as an ASGI application: `/v2/models/<name>` and what lies below it. Knows nothing of Ray."""

import logging
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from google.protobuf.message import Message
from starlette.types import Receive, Scope, Send

from deployments.errors import (
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    RequestError,
    UnavailableError,
    failed,
)
from deployments.execution.byte_budget import ByteBudget
from deployments.execution.meters import report_artifact
from deployments.execution.predicting import Predicting
from deployments.http.asgi import JSON, ClientGone, error_body, path_below, read_body, respond, respond_message
from deployments.http.bodies import Bodies
from deployments.http.generation import Generation
from deployments.http.infer import Infer
from deployments.http.meters import RequestMeter, scheme_of
from deployments.monitoring.feedback import Label, labels_of
from deployments.monitoring.monitor import Monitor
from deployments.oip import responses
from deployments.oip.model_config import PLATFORM, model_config
from deployments.oip.observation import trace_settings, unchanged
from deployments.oip.responses import Response
from deployments.oip.statistics import ModelStatistics
from deployments.rollout.witness import Witness
from optimization.artifact.manifest import TensorSpec
from telemetry import conventions
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.trace import Trace, current

Join = Callable[[Sequence[Label]], Awaitable[set[tuple[str, int]]]]
"""Brings labels to the answers they are of; which of them, by request and row, were found."""

logger = logging.getLogger(__name__)

_METHODS = {
    "": ("GET",),
    "/ready": ("GET",),
    "/infer": ("POST",),
    "/generate": ("POST",),
    "/generate_stream": ("POST",),
    "/config": ("GET",),
    "/stats": ("GET",),
    "/feedback": ("POST",),
    "/trace/setting": ("GET", "POST"),
}
_PATH = re.compile(rf"(?:/versions/(?P<version>[^/]+))?(?P<action>{'|'.join(_METHODS)})/?")
_ROUTES = {action: f"/v2/models/{{model}}{action}" for action in _METHODS}


class ModelApp:
    """Answers the protocol for one model.

    GET  /v2/models/<name>[/versions/<version>]          what the model takes and gives
    GET  /v2/models/<name>[/versions/<version>]/ready    whether it answers
    POST /v2/models/<name>[/versions/<version>]/infer    predict
    POST /v2/models/<name>[/versions/<version>]/generate            predict step by step, all in one answer
    POST /v2/models/<name>[/versions/<version>]/generate_stream     the same, an event for each step
    GET  /v2/models/<name>[/versions/<version>]/config   the same in Triton's words, with the largest batch
    GET  /v2/models/<name>[/versions/<version>]/stats    what was answered, and how long it took
    POST /v2/models/<name>/feedback                      what some answers should have been
    GET, POST /v2/models/<name>/trace/setting            how many requests are traced
    """

    def __init__(
        self,
        predictor: Predicting,
        *,
        raw: TensorSpec | None = None,
        max_batch_size: int | None = None,
        max_body_bytes: int,
        budget: ByteBudget | None = None,
        emitter: Emitter,
        versions: Callable[[], Sequence[str]] | None = None,
        everywhere: Callable[[], Awaitable[list[ModelStatistics]]] | None = None,
        monitor: Monitor | None = None,
        join: Join | None = None,
        witness: Witness | None = None,
    ) -> None:
        """`raw` is what a request may carry in place of the model's own inputs; `max_batch_size` what every replica is
        told, if not what this one found best; `budget` bounds the bytes of requests under way, without a bound if not
        given; `versions` tells which versions answer and `everywhere` what all replicas have counted, this one alone if
        not given; `monitor` sees every answer, and `join` brings labels to those of all replicas.
        """
        self.predictor = predictor
        self._manifest = manifest = predictor.manifest
        self._versions = versions or (lambda: (manifest.version,))
        self._everywhere = everywhere
        self._max_body_bytes = max_body_bytes
        bodies = Bodies(max_body_bytes, budget or ByteBudget(sys.maxsize))
        self.monitor = monitor
        self._join = join or self.join
        self._labels = emitter.counter(conventions.FEEDBACK_LABELS)
        self._infer = Infer(predictor, bodies, raw, monitor, witness)
        self._generation = Generation(predictor, bodies, raw)
        self._emitter = emitter
        self._requests = RequestMeter(emitter, manifest.version)
        self._raw = raw
        self._max_batch_size = max_batch_size or predictor.limits.max_batch_size

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""
        self.predictor.start()
        if self.monitor is not None:
            self.monitor.start()

    def serve(self) -> None:
        """Report as this version: requests that name none come here."""
        self._emitter.serves(self._manifest.version)
        report_artifact(self._manifest, self._emitter)

    async def stop(self) -> None:
        """Let go of the model."""
        if self.monitor is not None:
            await self.monitor.stop()
        await self.predictor.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        start_ns = time.time_ns()
        trace = self._requests.begin(scope)
        entered = current.set(trace)
        try:
            await self._answer(scope, receive, send, trace, start_ns)
        finally:
            current.reset(entered)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, trace: Trace, start_ns: int) -> None:
        status, route, error, error_type, prediction = 200, "", None, None, None
        response: Response | Message | None
        try:
            action = self._action(scope)
            route = _ROUTES[action]
            if action == "/infer":
                response, prediction = await self._infer.answer(scope, receive)
            elif action == "/generate":
                response = await self._generation.answer(scope, receive)
            elif action == "/generate_stream":
                response, error = None, await self._generation.stream(scope, receive, send)
            else:
                response = Response(body=orjson.dumps(await self._tell(action, scope, receive)), headers=JSON)
        except ClientGone:
            return
        except RequestError as problem:
            status, error, error_type = problem.status, str(problem), type(problem).__name__
            advice = (problem.retry_after,) if isinstance(problem, OverloadedError) else ()
            response = Response(body=error_body(error), headers=(*JSON, *advice))
        except Exception as problem:
            logger.exception("a request for model %r failed", self._manifest.name)
            status, error, error_type = 500, failed(self._manifest.name), type(problem).__name__
            response = Response(body=error_body(error), headers=JSON)
        if response is not None:
            if isinstance(response, Response):
                await respond(send, status, response.body, response.headers)
            else:
                await respond_message(send, response)
        end_ns = time.time_ns()
        if route == _ROUTES["/infer"]:
            self.predictor.statistics.request(start_ns, end_ns, prediction, has_failed=status >= 400)
        self._requests.request(
            method=scope["method"],
            route=route,
            status=status,
            start_ns=start_ns,
            end_ns=end_ns,
            trace=trace,
            scheme=scheme_of(scope),
            error=error,
            error_type=error_type,
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

    async def _tell(self, action: str, scope: Scope, receive: Receive) -> Any:
        match action:
            case "/ready":
                if problem := self.predictor.problem():
                    raise UnavailableError(problem)
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
            case "/feedback":
                return await self._feedback(labels_of(await read_body(scope, receive, self._max_body_bytes)))
            case "/trace/setting":
                body = await read_body(scope, receive, self._max_body_bytes)
                return unchanged(trace_settings(self._emitter.trace_ratio), body, "trace_ratio in serve_config.yaml")
            case _:
                return self._describe()

    async def join(self, labels: Sequence[Label]) -> set[tuple[str, int]]:
        """Judge the answers of this version that `labels` are of; which those are."""
        feedback = self.monitor.feedback if self.monitor else None
        return feedback.join(labels) if feedback else set()

    async def _feedback(self, labels: Sequence[Label]) -> dict[str, int]:
        if self.monitor is None or self.monitor.feedback is None:
            raise NotFoundError(f"model {self._manifest.name!r} keeps no answers for labels: set feedback in its args")
        joined = await self._join(labels)
        version = ((conventions.MODEL_VERSION, self._manifest.version),)
        num_unknown = sum((label.id, label.row) not in joined for label in labels)
        self._labels.add(len(labels) - num_unknown, version)
        if num_unknown:
            self._labels.add(num_unknown, (*version, (conventions.ERROR_TYPE, "unknown_request")))
        return {"joined": len(labels) - num_unknown, "unknown": num_unknown}

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
