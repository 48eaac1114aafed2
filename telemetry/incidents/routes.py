"""Incidents over HTTP.

    GET  api/incidents                   `{now, incidents, silences}`
    GET  api/incidents/7                 one of them
    POST api/incidents/7/acknowledge     `{"by": "ann", "note": "..."}`
    POST api/incidents/7/accept          `{"by": "ann", "why": "..."}`: what its signals are now is normal from now on
    POST api/baselines                   `{"service": "digits", "by": "rollout", "why": "..."}`: all of it is
    POST api/silences                    `{"service": "digits", "for_s": 3600, "by": "ann", "why": "..."}`
    POST api/silences/3/lift             `{"by": "ann"}`
    GET  api/changes?since=              `{now, changes: [{time_s, service, kind, text}]}`

Whoever changes something sends `application/json`, which no form of another site can do without asking first.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry.incidents import views
from telemetry.incidents.book import IncidentBook, UnknownIncidentError
from telemetry.incidents.changes import Changes
from telemetry.incidents.silence import Silence

MAX_SILENCE_S = 30 * 24 * 3600.0
_MAX_TEXT = 500
_MAX_BYTES = 16384
_Body = TypeVar("_Body", bound=BaseModel)


class _Note(BaseModel):
    """Who says something, and what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str = Field(min_length=1, max_length=_MAX_TEXT)
    note: str = Field(default="", max_length=_MAX_TEXT)
    why: str = Field(default="", max_length=_MAX_TEXT)


class _Baseline(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str = Field(min_length=1, max_length=_MAX_TEXT)
    by: str = Field(min_length=1, max_length=_MAX_TEXT)
    why: str = Field(min_length=1, max_length=_MAX_TEXT)


class _NewSilence(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str = Field(default="*", min_length=1, max_length=_MAX_TEXT)
    signal: str = Field(default="*", min_length=1, max_length=_MAX_TEXT)
    instance: str = Field(default="*", min_length=1, max_length=_MAX_TEXT)
    for_s: float = Field(gt=0, le=MAX_SILENCE_S)
    by: str = Field(min_length=1, max_length=_MAX_TEXT)
    why: str = Field(min_length=1, max_length=_MAX_TEXT)


def routes(book: IncidentBook, changes: Changes, clock: Callable[[], float]) -> list[Route]:
    """The routes, relative to where the page is."""

    async def listed(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        return _json(views.incidents(book, clock()))

    async def one(request: Request) -> Response:
        return _json(views.incident(book, book.find(_number(request))))

    async def acknowledge(request: Request) -> Response:
        note = await _body(request, _Note)
        return _json(views.incident(book, book.acknowledge(_number(request), by=note.by, note=note.note or note.why)))

    async def accept(request: Request) -> Response:
        note = await _body(request, _Note)
        return _json(views.incident(book, book.accept(_number(request), by=note.by, why=note.why or note.note)))

    async def relearn(request: Request) -> Response:
        asked = await _body(request, _Baseline)
        if not book.relearn(asked.service, by=asked.by, why=asked.why):
            raise _RefusedError(f"service must be one that has reported, got {asked.service!r}", 404)
        return _json(views.incidents(book, clock()))

    async def silence(request: Request) -> Response:
        new, now_s = await _body(request, _NewSilence), clock()
        made = book.silence(Silence(id=0, until_s=now_s + new.for_s, made_s=now_s, **new.model_dump(exclude={"for_s"})))
        return _json(asdict(made), 201)

    async def lift(request: Request) -> Response:
        await _body(request, _Note)
        book.lift(_number(request))
        return _json(views.incidents(book, clock()))

    async def changed(request: Request) -> Response:
        now_s = clock()
        since = request.query_params.get("since", str(now_s - 24 * 3600))
        return _json({"now": now_s, "changes": [asdict(each) for each in changes.between(_time(since), math.inf)]})

    return [
        Route("/api/incidents", _answered(listed)),
        Route("/api/incidents/{number:int}", _answered(one)),
        Route("/api/incidents/{number:int}/acknowledge", _answered(acknowledge), methods=["POST"]),
        Route("/api/incidents/{number:int}/accept", _answered(accept), methods=["POST"]),
        Route("/api/baselines", _answered(relearn), methods=["POST"]),
        Route("/api/silences", _answered(silence), methods=["POST"]),
        Route("/api/silences/{number:int}/lift", _answered(lift), methods=["POST"]),
        Route("/api/changes", _answered(changed)),
    ]


class _RefusedError(ValueError):
    """A request that breaks a rule, with the status to answer."""

    def __init__(self, text: str, status_code: int = 400) -> None:
        super().__init__(text)
        self.status_code = status_code


def _answered(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except _RefusedError as error:
            return _json({"error": str(error)}, error.status_code)
        except UnknownIncidentError as error:
            return _json({"error": str(error)}, 404)

    return answered


async def _body(request: Request, body: type[_Body]) -> _Body:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise _RefusedError(f"content-type must be application/json, got {media_type[:80]!r}", 415)
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > _MAX_BYTES:
            raise _RefusedError(f"the body must not exceed {_MAX_BYTES} bytes, got more", 413)
    try:
        return body.model_validate_json(bytes(received))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the body"
        raise _RefusedError(f"{name}: {first['msg']}, got {str(first['input'])[:80]!r}", 422) from None


def _number(request: Request) -> int:
    number: int = request.path_params["number"]
    return number


def _time(text: str) -> float:
    try:
        time_s = float(text)
    except ValueError:
        time_s = math.nan
    if not math.isfinite(time_s):
        raise _RefusedError(f"since must be a time in Unix seconds, got {text[:40]!r}")
    return time_s


def _json(content: Any, status_code: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code, media_type="application/json")
