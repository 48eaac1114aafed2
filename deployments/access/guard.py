"""Access control around each application of a replica, so that a replica's own port is no way around it."""

import ipaddress
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.access.gate import Gate, Headers, Need
from deployments.access.keys import Key
from deployments.errors import RateLimitedError, RequestError, SettingsError, UnauthorizedError
from deployments.http.asgi import JSON, error_body, header, path_below, respond

ACCESS, AUDIT = "TRIMTAB_ACCESS", "TRIMTAB_AUDIT"
"""The environment's `access` and `audit`, for applications whose `args` name none."""
OPEN = "open"
CLIENT_GONE = 499
OPEN_CALLS = ("ServerLive", "ServerReady")
"""RPCs that need no key."""

NOTHING = Need(key=False)
ANY_KEY = Need()
ADMIN = Need(admin=True)
PAGE = Need(admin=True, browser=True)


def keys_file(access: str | None, host: str | None) -> Path | None:
    """The file of keys that the setting `access` means for a server on `host`; none where everyone is answered.

    Raises:
        SettingsError: it says neither, and others than this machine could call.
    """
    access = access or os.environ.get(ACCESS)
    if access == OPEN or (access is None and is_loopback(host)):
        return None
    if access is None:
        raise SettingsError(
            f"access must be a file of keys or '{OPEN}' where the network can call, got none with http_options.host "
            f"{host}. Make a key with `python -m deployments key add <id>` and set {ACCESS}=keys.yaml, or listen on "
            f"127.0.0.1, or set {ACCESS}={OPEN} to answer everyone"
        )
    return Path(access)


def audit_path(audit: Path | None, name: str) -> Path | None:
    """The audit log of the process `name`, if the setting `audit` or the environment asks for one."""
    folder = audit or (Path(os.environ[AUDIT]) if AUDIT in os.environ else None)
    return folder / f"{name}.jsonl" if folder else None


def guarded(app: ASGIApp, gate: Gate | None, need: Callable[[Scope], Need]) -> ASGIApp:
    """`app` behind `gate`; `need` says what each request must show. Without a gate it is `app` itself."""
    if gate is None:
        return app

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await _answer(app, gate, need(scope), scope, receive, send)
        else:
            await app(scope, receive, send)
            if gate.audit:  # the lifespan is over
                gate.audit.write()

    return guard


def of_model(name: str) -> Callable[[Scope], Need]:
    """What requests to the model `name` must show."""
    need = Need(model=name)
    return lambda _: need


def of_page(_: Scope) -> Need:
    """What requests to the telemetry page must show."""
    return PAGE


def of_server(scope: Scope) -> Need:
    """What requests to the endpoints that speak for all models must show: health nothing, changes an administrator."""
    path, reads = path_below(scope), scope["method"] in ("GET", "HEAD")
    if path in ("/health/live", "/health/ready") and reads:
        return NOTHING
    if path.startswith("/models/") and path != "/models/stats":
        return Need(model=path.split("/")[2])
    return ANY_KEY if reads or path == "/repository/index" else ADMIN


class CallGuard:
    """Access control of gRPC calls before their message is read; what the key opens is checked with the rest."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def problem(self, rpc: str, headers: Headers) -> UnauthorizedError | None:
        """Why a call may not pass, if it may not."""
        if rpc in OPEN_CALLS:
            return None
        try:
            self._gate.authenticate(headers)
        except UnauthorizedError as problem:
            return problem
        return None

    def record(self, path: str, headers: Headers, client: tuple[str, int] | None, problem: RequestError) -> None:
        """Note a call that was refused."""
        if self._gate.audit is None:
            return
        self._gate.audit.record(
            key=None,
            client=client[0] if client else None,
            forwarded_for=next(
                (value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"), None
            ),
            method="POST",
            path=path,
            status=problem.status,
        )


async def _answer(app: ASGIApp, gate: Gate, need: Need, scope: Scope, receive: Receive, send: Send) -> None:
    status = CLIENT_GONE
    key: Key | None = None

    async def noting(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    try:
        key = gate.check(scope["headers"], need)
        await app(scope, receive, noting)
    except RequestError as problem:
        await respond(noting, problem.status, error_body(str(problem)), (*JSON, *_advice(problem, need)))
    finally:
        if gate.audit and need.key:
            gate.audit.record(
                key=key.id if key else None,
                client=scope["client"][0] if scope.get("client") else None,
                forwarded_for=header(scope, b"x-forwarded-for"),
                method=scope["method"],
                path=scope["path"],
                status=status,
            )


def _advice(problem: RequestError, need: Need) -> Iterator[tuple[bytes, bytes]]:
    """The headers that tell a client how to go on."""
    if isinstance(problem, UnauthorizedError):
        yield b"www-authenticate", b'Basic realm="trimtab"' if need.browser else b'Bearer realm="trimtab"'
    elif isinstance(problem, RateLimitedError):
        yield b"retry-after", str(math.ceil(problem.retry_after_s)).encode()


def is_loopback(host: str | None) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "0.0.0.0").is_loopback
    except ValueError:
        return False
