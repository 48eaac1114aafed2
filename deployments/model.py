"""One model as an ASGI application: `/v2/models/<name>` and what lies below it. Knows nothing of Ray."""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from deployments import protocol
from deployments.asgi import JSON, ClientGone, error_body, header, path_below, read_body, respond, while_connected
from deployments.batching import Batcher, Limits, Prediction, Run
from deployments.cache import AnswerCache, digest_of
from deployments.errors import MethodNotAllowedError, NotFoundError, OverloadedError, RequestError
from deployments.meters import ModelMeters, RequestMeter, report_artifact
from deployments.pace import Pace
from deployments.padding import padding_for
from deployments.protocol import Response
from deployments.urgency import TIMEOUT, seconds_left, urgency_of
from optimization.artifact import Manifest, TensorSpec
from telemetry.emit import Emitter

logger = logging.getLogger(__name__)

PLATFORM = "onnxruntime_onnx"
COMPRESS_FROM_BYTES = 1024
"""A smaller response is sent as it is, even to a client that takes compressed ones."""

_PATH = re.compile(r"(?:/versions/(?P<version>[^/]+))?(?P<action>|/ready|/infer)/?")
_ROUTES = {action: f"/v2/models/{{model}}{action}" for action in ("", "/ready", "/infer")}
_METHODS = {"": ("GET",), "/ready": ("GET",), "/infer": ("POST",)}


class ModelApp:
    """Answers the protocol for one model.

    GET  /v2/models/<name>[/versions/<version>]          what the model takes and gives
    GET  /v2/models/<name>[/versions/<version>]/ready    whether it answers
    POST /v2/models/<name>[/versions/<version>]/infer    predict
    """

    def __init__(
        self,
        manifest: Manifest,
        run: Run,
        *,
        limits: Limits,
        inline: bool,
        pace: Pace | None = None,
        raw: TensorSpec | None = None,
        cache: AnswerCache | None = None,
        max_body_bytes: int,
        emitter: Emitter,
        versions: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        """`raw` is what a request may carry in place of the model's own inputs; `cache` keeps answers; `versions` tells
        which versions of the model answer, this one alone if not given.
        """
        self._manifest = manifest
        self._versions = versions or (lambda: (manifest.version,))
        self._max_body_bytes = max_body_bytes
        self._outputs = tuple(spec.name for spec in manifest.outputs)
        self._types = {spec.name: spec.datatype for spec in manifest.outputs}
        self._emitter = emitter
        self._requests = RequestMeter(emitter)
        self._meters = ModelMeters(emitter)
        self._raw = raw
        self._cache = cache
        self._watch_clients = not inline
        self._batcher = Batcher(
            run,
            limits,
            inline=inline,
            report=self._meters.batch,
            pace=pace,
            padding=padding_for(manifest.inputs, manifest.outputs),
        )

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""
        self._batcher.start()

    def serve(self) -> None:
        """Report as this version: requests that name none come here."""
        self._emitter.serves(self._manifest.version)
        report_artifact(self._manifest, self._emitter)

    async def stop(self) -> None:
        """Let go of the model."""
        await self._batcher.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        start_ns = time.time_ns()
        status, route, error, prediction = 200, "", None, None
        try:
            action = self._action(scope)
            route = _ROUTES[action]
            if action == "/infer":
                response, prediction = await self._infer(scope, receive)
            else:
                response = Response(body=orjson.dumps(self._describe(action)), headers=JSON)
        except ClientGone:
            return
        except RequestError as problem:
            status, error = problem.status, str(problem)
            response = Response(body=error_body(error), headers=JSON)
            if isinstance(problem, OverloadedError):
                response = Response(body=response.body, headers=(*JSON, problem.retry_after))
        except Exception:
            logger.exception("a request for model %r failed", self._manifest.name)
            status, error = 500, f"model {self._manifest.name!r} failed on this request; the server's log says why"
            response = Response(body=error_body(error), headers=JSON)
        await respond(send, status, response.body, response.headers)
        self._requests.request(
            method=scope["method"],
            route=route,
            status=status,
            start_ns=start_ns,
            end_ns=time.time_ns(),
            traceparent=header(scope, b"traceparent"),
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
            raise MethodNotAllowedError(f"{_ROUTES[action]} takes {_METHODS[action][0]}, got {scope['method']}")
        return action

    async def _infer(self, scope: Scope, receive: Receive) -> tuple[Response, Prediction | None]:
        self._batcher.admit()
        timeout_s = seconds_left(header(scope, TIMEOUT))
        body = await read_body(scope, receive, self._max_body_bytes)
        body = protocol.decompress(body, header(scope, b"content-encoding") or "", self._max_body_bytes)
        length = header(scope, protocol.HEADER_LENGTH)
        request = protocol.decode(body, length, self._manifest.inputs, self._outputs, self._raw)
        urgency = urgency_of(request.parameters, timeout_s)
        digest = digest_of(request.inputs) if self._cache else b""
        outputs, prediction = self._cache.get(digest) if self._cache else None, None
        if outputs is None:
            answer = self._batcher.submit(request.inputs, priority=urgency.rank, timeout_s=urgency.timeout_s)
            prediction = await (while_connected(answer, receive) if self._watch_clients else answer)
            outputs = prediction.outputs
            self._meters.queued(prediction)
        manifest = self._manifest
        response = protocol.encode(manifest.name, manifest.version, request, outputs, self._types, manifest.labels)
        if self._cache:
            if prediction:
                self._cache.put(digest, outputs)
            self._meters.looked_up(hit=prediction is None)
            response = replace(response, headers=(*response.headers, (b"x-cache", b"miss" if prediction else b"hit")))
        return _compressed(response, header(scope, b"accept-encoding")), prediction

    def _describe(self, action: str) -> dict[str, Any]:
        name = self._manifest.name
        if action == "/ready":
            return {"name": name, "ready": True, "live": True}
        return {
            "name": name,
            "versions": list(self._versions()),
            "platform": PLATFORM,
            "inputs": [protocol.describe(spec) for spec in self._manifest.inputs],
            "outputs": [protocol.describe(spec) for spec in self._manifest.outputs],
            **({"raw_input": protocol.describe(self._raw)} if self._raw else {}),
        }


def _compressed(response: Response, accepted: str | None) -> Response:
    if accepted is None or len(response.body) < COMPRESS_FROM_BYTES:
        return response
    for encoding in ("gzip", "deflate"):
        if encoding in accepted:
            headers = (*response.headers, (b"content-encoding", encoding.encode()))
            return Response(body=protocol.compress(response.body, encoding), headers=headers)
    return response
