"""What is known of models' rows over HTTP.

GET  api/drift/sentiment    `{now, watched, why, versions}`; of each version its number, distributions, problems,
                            fidelity, accuracy and segments, the latest version first
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry.drift.service import ServiceDrift

UNWATCHED = "the artifact has no reference: publish it again by its recipe to have its drift watched"


def routes(found: Mapping[str, ServiceDrift], clock: Callable[[], float]) -> list[Route]:
    """The routes, relative to where the page is; `found` is what is known of each service."""

    async def drift(request: Request) -> Response:
        known = found.get(request.path_params["service"])
        view: dict[str, Any] = known.view() if known else {"versions": []}
        is_watched = any(version["distributions"] for version in view["versions"])
        return _json({"now": clock(), "watched": is_watched, "why": "" if is_watched else UNWATCHED} | view)

    return [Route("/api/drift/{service:path}", drift)]


def _json(content: Any) -> Response:
    return Response(orjson.dumps(_plain(content)), media_type="application/json")


def _plain(content: Any) -> Any:
    """With null for what JSON has no number for."""
    match content:
        case dict():
            return {name: _plain(each) for name, each in content.items()}
        case list() | tuple():
            return [_plain(each) for each in content]
        case float() if not math.isfinite(content):
            return None
    return content
