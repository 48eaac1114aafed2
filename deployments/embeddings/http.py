"""A table as an ASGI application: `/v2/embeddings/<table>` and what lies below it. Knows nothing of Ray.

Requests and answers are those of the Open Inference Protocol, JSON or binary: the inputs are `ids` and, for changes,
`rows`; the output of a look-up is `rows`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from starlette.types import Receive, Scope, Send

from deployments.embeddings.reader import Reader
from deployments.errors import MethodNotAllowedError, NotFoundError, RequestError
from deployments.execution.byte_budget import ByteBudget
from deployments.http.asgi import JSON, ClientGone, error_body, header, path_below, read_body, respond
from deployments.http.meters import RequestMeter, scheme_of
from deployments.oip import requests, responses
from deployments.oip.infer_request import InferRequest
from deployments.oip.responses import Response
from optimization.artifact.manifest import TensorSpec
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.trace import current

logger = logging.getLogger(__name__)

_METHODS = {"": "GET", "/ready": "GET", "/lookup": "POST", "/set": "POST", "/add": "POST"}
_IDS, _ROWS = "ids", "rows"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, and all of them, may take."""

    max_request_ids: int
    max_body_bytes: int


class EmbeddingApp:
    """Answers for one table.

    GET  /v2/embeddings/<table>          its shape, its shards, and how this replica reads it
    GET  /v2/embeddings/<table>/ready    whether each row has all its copies
    POST /v2/embeddings/<table>/lookup   rows of ids
    POST /v2/embeddings/<table>/set      put rows in place of others
    POST /v2/embeddings/<table>/add      add to rows
    """

    def __init__(
        self,
        reader: Reader,
        health: Callable[[], Awaitable[dict[str, Any]]],
        *,
        limits: Limits,
        tasks: Callable[[], list[Coroutine[Any, Any, None]]],
        emitter: Emitter,
    ) -> None:
        """`health` tells how the table is; `tasks` run as long as the application lives."""
        self._reader = reader
        self._health = health
        self._limits = limits
        self._budget = ByteBudget(4 * limits.max_body_bytes)
        self._tasks = tasks
        self._emitter = emitter
        self._requests = RequestMeter(emitter)
        table = reader.table
        self._ids = TensorSpec(name=_IDS, datatype="INT64", shape=("count",))
        self._rows = TensorSpec(name=_ROWS, datatype="FP32", shape=("count", table.width))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        start_ns = time.time_ns()
        trace = self._requests.begin(scope)
        entered = current.set(trace)
        status, route, error, error_type = 200, "", None, None
        try:
            action = self._action(scope)
            route = f"/v2/embeddings/{{table}}{action}"
            status, response = await self._answer(action, scope, receive)
        except ClientGone:
            return
        except RequestError as problem:
            status, error, error_type = problem.status, str(problem), type(problem).__name__
            response = Response(body=error_body(error), headers=JSON)
        except Exception as problem:
            logger.exception("a request for table %r failed", self._reader.table.name)
            status, error_type = 500, type(problem).__name__
            error = f"table {self._reader.table.name!r} failed; its log says more"
            response = Response(body=error_body(error), headers=JSON)
        finally:
            current.reset(entered)
        await respond(send, status, response.body, response.headers)
        self._requests.request(
            method=scope["method"],
            route=route,
            status=status,
            start_ns=start_ns,
            end_ns=time.time_ns(),
            trace=trace,
            scheme=scheme_of(scope),
            error=error,
            error_type=error_type,
        )

    def _action(self, scope: Scope) -> str:
        below = path_below(scope).rstrip("/")
        if below not in _METHODS:
            known = ", ".join(f"/v2/embeddings/{self._reader.table.name}{action}" for action in _METHODS)
            raise NotFoundError(f"table {self._reader.table.name!r} has no {below!r}, only {known}")
        if scope["method"] != _METHODS[below]:
            raise MethodNotAllowedError(f"{scope['path']} takes {_METHODS[below]}, got {scope['method']}")
        return below

    async def _answer(self, action: str, scope: Scope, receive: Receive) -> tuple[int, Response]:
        match action:
            case "":
                return 200, _json(await self._describe())
            case "/ready":
                health = await self._health()
                whole = bool(health.get("whole"))
                return 200 if whole else 503, _json({"name": self._reader.table.name, "ready": whole, "live": True})
            case "/lookup":
                return 200, await self._lookup(scope, receive)
            case _:
                await self._change("set" if action == "/set" else "add", scope, receive)
                return 200, _json({})

    async def _lookup(self, scope: Scope, receive: Receive) -> Response:
        request = await self._request(scope, receive, (self._ids,), (_ROWS,))
        found = await self._reader.lookup(request.inputs[_IDS])
        rows = found.astype("float32")
        return responses.encode(self._reader.table.name, "", request, {_ROWS: rows}, {_ROWS: "FP32"})

    async def _change(self, kind: Literal["set", "add"], scope: Scope, receive: Receive) -> None:
        request = await self._request(scope, receive, (self._ids, self._rows), ())
        await self._reader.change(kind, request.inputs[_IDS], request.inputs[_ROWS])

    async def _request(
        self, scope: Scope, receive: Receive, inputs: tuple[TensorSpec, ...], outputs: tuple[str, ...]
    ) -> InferRequest:
        body = await read_body(scope, receive, self._limits.max_body_bytes, self._budget)
        try:
            request = requests.decode(body, header(scope, requests.HEADER_LENGTH), inputs, outputs)
        finally:
            self._budget.release(len(body))
        count = len(request.inputs[_IDS])
        if count > self._limits.max_request_ids:
            raise RequestError(f"a request must have at most {self._limits.max_request_ids} ids, got {count}")
        return request

    async def _describe(self) -> dict[str, Any]:
        table, counts = self._reader.table, self._reader.counts
        return {
            "name": table.name,
            "rows": table.rows,
            "width": table.width,
            "dtype": table.dtype,
            **await self._health(),
            "replica": {"keys": counts.keys, "near": counts.near, "hits": counts.hits},
        }

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        running = [asyncio.ensure_future(task) for task in self._tasks()]
        self._emitter.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in running:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(self._emitter.shutdown)
        await send({"type": "lifespan.shutdown.complete"})


def _json(body: dict[str, Any]) -> Response:
    return Response(body=orjson.dumps(body), headers=JSON)
