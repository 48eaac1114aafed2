"""The endpoints that speak for the whole server: `/v2`, health, the model repository, and any lost path."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.errors import NotFoundError, RequestError, UnavailableError
from deployments.http.asgi import ClientGone, error_body, path_below, read_body
from deployments.http.meters import RequestMeter, scheme_of
from deployments.ingress.log import IngressLog
from deployments.oip.observation import log_settings, trace_settings, unchanged
from deployments.oip.openapi import openapi_document
from deployments.oip.parameters import parameters_of
from deployments.oip.requests import json_object
from deployments.oip.statistics import ModelStatistics
from deployments.replicas.status import VersionStatus
from deployments.rollout.controller import Controller
from deployments.rollout.http import Answer as RolloutAnswer
from deployments.rollout.http import routes as rollout_routes
from optimization.artifact.store import ArtifactError
from telemetry.emitting.emitter import Emitter

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "generate",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
    "trace",
)
"""Of those that Triton's clients know, what is answered; docs/serving.md says how."""

MAX_BODY_BYTES = 2**20
_PROBES = ("/v2/health/live", "/v2/health/ready")
"""Asked by whoever waits for the server: not counted, since "not yet ready" is no error."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What is asked of the models' replicas; each may raise `RequestError` or `ArtifactError`."""

    models: Callable[[], Mapping[str, bool]]
    """Which models there are, and whether each is ready; may block for a moment."""
    index: Callable[[str], Awaitable[Sequence[VersionStatus]]]
    """The versions of a model."""
    load: Callable[[str], Awaitable[object]]
    """Let every replica of a model load what is published."""
    unload: Callable[[str], Awaitable[object]]
    """Let every replica of a model let go of it."""
    statistics: Callable[[str], Awaitable[list[ModelStatistics]]]
    """What a model has answered."""
    tables: Callable[[], Mapping[str, bool]]
    """Which tables of embeddings there are, and whether each runs; may block for a moment."""
    is_whole: Callable[[str], Awaitable[bool]]
    """Whether each row of a table that runs has all its copies."""
    behind: Callable[[str], str | None] = lambda _: None
    """Why a replica of a model cannot answer by the version that the others do, if so; may block for a moment."""


def server_app(
    cluster: Cluster,
    emitter: Emitter,
    ingress: IngressLog | None = None,
    *,
    trace_ratio: float = 0.0,
    rollouts: Controller | None = None,
) -> ASGIApp:
    """The ASGI application mounted at `/v2`.

    GET  /v2                                  name, version, extensions
    GET  /v2/health/live                      this process answers
    GET  /v2/health/ready                     every model answers, all its replicas by one version, and tables are whole
    GET  /v2/models                           the index, for people
    GET  /v2/models/stats                     what every model has answered
    POST /v2/repository/index                 every version and its state, as Triton's clients ask for it
    POST /v2/repository/models/<name>/load    load the versions that are published
    POST /v2/repository/models/<name>/unload  let go of all versions
    GET, POST /v2/trace/setting, /v2/logging  what is traced and logged
    GET  /v2/openapi.json                     all of this, and the models' endpoints, for programs
    /v2/rollouts...                           `deployments.rollout.http`, where `rollouts` are given

    Where `ingress` and `rollouts` are given, they live as long as the application does.
    """
    meter = RequestMeter(emitter)

    async def metadata(_: Request) -> Response:
        return _json({"name": "trimtab", "version": version("trimtab"), "extensions": list(EXTENSIONS)})

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def ready(_: Request) -> Response:
        found = await run_in_threadpool(cluster.models)
        behind = await run_in_threadpool(lambda: [why for name in found if (why := cluster.behind(name))])
        tables = await run_in_threadpool(cluster.tables)
        whole = [runs and await cluster.is_whole(name) for name, runs in tables.items()]
        is_ready = all(found.values()) and all(whole) and not behind
        answer = {"ready": is_ready, "live": True} | ({"error": "; ".join(behind)} if behind else {})
        return _json(answer, 200 if is_ready else 503)

    async def index(request: Request) -> Response:
        only_ready = (await _asked(request)).get("ready", False)
        if not isinstance(only_ready, bool):
            raise RequestError(f"ready must be true or false, got {only_ready!r}")
        entries = await _index(cluster)
        return _json([entry for entry in entries if not only_ready or entry["state"] == "READY"])

    async def load(request: Request) -> Response:
        return await order(request, cluster.load, known=())

    async def unload(request: Request) -> Response:
        return await order(request, cluster.unload, known=("unload_dependents",))

    async def order(request: Request, give: Callable[[str], Awaitable[object]], known: tuple[str, ...]) -> Response:
        name = request.path_params["model"]
        unknown = sorted(parameters_of(await _asked(request)).keys() - set(known))
        if unknown:
            raise RequestError(f"a model is loaded as serve_config.yaml says, got the parameter {unknown[0]!r}")
        await _known(name)
        try:
            await give(name)
        except ArtifactError as error:
            raise RequestError(str(error)) from error
        return Response(status_code=200)

    async def statistics(_: Request) -> Response:
        found = await run_in_threadpool(cluster.models)
        told = [await cluster.statistics(name) for name, is_ready in found.items() if is_ready]
        return _json({"model_stats": [each for model in told for each in model]})

    async def tracing(request: Request) -> Response:
        return _json(unchanged(trace_settings(trace_ratio), await _body(request), "trace_ratio in serve_config.yaml"))

    async def logging(request: Request) -> Response:
        return _json(unchanged(log_settings(), await _body(request), "logging_config in serve_config.yaml"))

    async def openapi(_: Request) -> Response:
        return _json(openapi_document())

    async def lost_model(request: Request) -> Response:
        name = request.path_params["model"]
        await _known(name)
        raise UnavailableError(f"model {name!r} is not ready")  # the ingress found no replica to send the request to

    async def _known(name: str) -> None:
        found = await run_in_threadpool(cluster.models)
        if name not in found:
            served = ", ".join(sorted(found)) or "none yet"
            # Begins as Triton's own: its example clients look for these words.
            raise NotFoundError(f"Request for unknown model: {name!r} is not served, only {served}")

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _error(f"{error.detail}: see GET /v2/openapi.json", error.status_code)

    def measured(route: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            start_ns = time.time_ns()
            trace, error_type = meter.begin(request.scope), None
            try:
                response = await endpoint(request)
            except RequestError as problem:
                response, error_type = _error(str(problem), problem.status), type(problem).__name__
            except ClientGone:
                return Response(status_code=400)
            if route not in _PROBES:
                meter.request(
                    method=request.method,
                    route=route,
                    status=response.status_code,
                    start_ns=start_ns,
                    end_ns=time.time_ns(),
                    trace=trace,
                    error_type=error_type,
                    scheme=scheme_of(request.scope),
                )
            return response

        return answer

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        emitter.start()
        if ingress:
            await ingress.start()
        if rollouts:
            rollouts.start()
        yield
        if rollouts:
            await rollouts.stop()
        if ingress:
            await ingress.stop()
        await run_in_threadpool(emitter.shutdown)

    paths: list[tuple[list[str], str, Callable[[Request], Awaitable[Response]]]] = [
        (["GET"], "/", metadata),
        (["GET"], "/health/live", live),
        (["GET"], "/health/ready", ready),
        (["GET"], "/models", index),
        (["GET"], "/models/stats", statistics),
        (["POST"], "/repository/index", index),
        (["POST"], "/repository/models/{model}/load", load),
        (["POST"], "/repository/models/{model}/unload", unload),
        (["GET", "POST"], "/trace/setting", tracing),
        (["GET", "POST"], "/logging", logging),
        (["GET"], "/openapi.json", openapi),
    ]
    for method, path, answer in rollout_routes(rollouts) if rollouts else ():
        paths.append(([method], f"/rollouts{path}", _of_rollouts(answer)))
    routes = [
        Route(path, measured(f"/v2{path}".rstrip("/"), endpoint), methods=methods) for methods, path, endpoint in paths
    ]
    any_method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    lost = measured("/v2/models/{model}", lost_model)
    routes += [Route(path, lost, methods=any_method) for path in ("/models/{model}", "/models/{model}/{rest:path}")]
    app = Starlette(routes=routes, exception_handlers={HTTPException: refused}, lifespan=lifespan)

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":  # Starlette's routes begin with a slash, the bare prefix leaves none
            scope = {**scope, "path": path_below(scope) or "/", "root_path": ""}
        await app(scope, receive, send)

    return mounted


def model_of(path: str) -> str | None:
    """The model whose own application answers `path`; none where the server does."""
    name, _, rest = path.removeprefix("/v2/models/").partition("/")
    return name if path.startswith("/v2/models/") and (name, rest) != ("stats", "") else None


async def _index(cluster: Cluster) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = []
    for name, is_ready in (await run_in_threadpool(cluster.models)).items():
        try:
            versions = await cluster.index(name) if is_ready else ()
        except RequestError as problem:
            entries.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": str(problem)})
            continue
        if not versions:
            reason = "it has no version" if is_ready else "its replicas are starting, or have failed"
            entries.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": reason})
        entries += [
            {"name": name, "version": each.version, "state": each.state, "reason": each.reason} for each in versions
        ]
    return entries


def _of_rollouts(answer: RolloutAnswer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return _json(await answer(request.path_params.get("model", ""), await _asked(request)))

    return endpoint


async def _asked(request: Request) -> dict[str, Any]:
    """The request's JSON object, empty where it has no body.

    Raises:
        RequestError: it is something else.
    """
    return json_object(await _body(request), or_empty=True)


async def _body(request: Request) -> bytes:
    return await read_body(request.scope, request.receive, MAX_BODY_BYTES) if request.method == "POST" else b""


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _error(message: str, status: int) -> Response:
    return Response(error_body(message), status, media_type="application/json")
