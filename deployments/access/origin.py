"""Keeps the pages of other sites out where no key does: a browser on this machine reaches what is for this machine.

    Host            of loopback alone: a page whose name was turned to 127.0.0.1 (DNS rebinding) keeps its own name
    Sec-Fetch-Site, Origin     the server's own: a page may send a request elsewhere, though it may not read the answer
    Content-Type    no form's, for what changes something: an old browser sends a form without saying from where

Programs send none of these but Host, and a form's content type with `curl -d`, whose body is then JSON.
"""

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.access.gate import Need
from deployments.errors import ForbiddenError
from deployments.http.asgi import error_body, respond

_READS = ("GET", "HEAD", "OPTIONS")
_OWN_SITE = (b"same-origin", b"none")
_FORMS = (b"text/plain", b"multipart/form-data")
_URL_ENCODED = b"application/x-www-form-urlencoded"


def without_other_sites(app: ASGIApp, need: Callable[[Scope], Need], *, any_host: bool) -> ASGIApp:
    """`app`, which no page of another site reaches; with `any_host`, it may be called by names that are not
    loopback's.
    """

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            problem = _problem(scope, need, any_host)
            if problem is not None:
                await respond(send, problem.status, error_body(str(problem)))
                return
        await app(scope, receive, send)

    return guard


def _problem(scope: Scope, need: Callable[[Scope], Need], any_host: bool) -> ForbiddenError | None:
    """Why the request may not pass: a page of another site may have sent it."""
    headers = dict(scope["headers"])
    host = headers.get(b"host")
    if host is not None and not any_host and not _is_own(host):
        return ForbiddenError(
            f"Host must be localhost or an address, as this server answers its own machine only, got {_text(host)!r}: "
            "with keys (TRIMTAB_ACCESS), it may be any"
        )
    if scope["method"] in _READS:
        return None
    if _is_elsewhere(headers.get(b"sec-fetch-site"), headers.get(b"origin"), host):
        return ForbiddenError(
            f"a page may only {scope['method']} to its own server, got Origin "
            f"{_text(headers.get(b'origin', b'none'))!r} for Host {_text(host or b'none')!r}"
        )
    if _is_form(headers) and need(scope).admin:
        return ForbiddenError(
            f"Content-Type must be application/json or none for what changes something, got "
            f"{_text(headers[b'content-type'])!r}, which a form on any page could send"
        )
    return None


def _is_elsewhere(site: bytes | None, origin: bytes | None, host: bytes | None) -> bool:
    """Whether a browser says that another site's page sends it. The scheme may differ, where something before this
    server speaks TLS.
    """
    if site is not None:
        return site not in _OWN_SITE
    return origin is not None and (host is None or origin.lower().partition(b"://")[2] != host.lower())


@lru_cache(maxsize=256)
def _is_own(host: bytes) -> bool:
    """Whether no name of another site is in `host`; an address is none."""
    name = urlsplit(f"//{_text(host)}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_form(headers: dict[bytes, bytes]) -> bool:
    """Whether a form may have sent it; one in the URL's encoding that is JSON none can have."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return kind in _FORMS or (kind == _URL_ENCODED and headers.get(b"content-length", b"0") == b"0")


def _text(value: bytes) -> str:
    return value.decode("latin-1")
