"""`inference.GRPCInferenceService` in a replica: each RPC is asked of the application as the REST call it stands for.

    HAProxy -> gRPC server in the replica -> Service: the key, from the call's metadata
            -> the message, of a bounded size -> protocol_grpc.to_call -> ask -> protocol_grpc.to_message

`serve_config.yaml` names `add_to_server`, which Ray calls for each gRPC server it starts. In a replica with an open
service the RPCs go past Ray's wrapper, as HTTP requests do (docs/decisions/0006-fast-path.md); elsewhere, such as in
Ray's own proxy, Ray replaces the handlers by its own and calls the methods that `with_rpcs` gives the replica's class:
they are guarded as the service is.
"""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message

from deployments.access.guard import CallGuard
from deployments.errors import RequestError
from deployments.http.asgi import JSON, Answer, Call, error_body
from deployments.ingress.fast_path import FastPath
from deployments.oip import inference_pb2 as oip
from deployments.oip.protocol_grpc import CODES, REQUESTS, Headers, RpcError, parse, to_call, to_message
from deployments.oip.urgency import TIMEOUT
from deployments.settings import ServerSettings

logger = logging.getLogger(__name__)

SERVICE = "inference.GRPCInferenceService"
STREAM_AHEAD = 64
"""Requests of one stream that are worked on at a time; the answers keep their order."""
FRAME_BYTES = 2**20
"""What a message may have besides the tensors: names, shapes, parameters, and typed contents' own length."""

Ask = Callable[[Call], Awaitable[Answer]]
_Class = TypeVar("_Class", bound=type)

_NOT_PASSED = frozenset((b"content-type", b"content-length", b"content-encoding", b"accept-encoding", b"te"))
"""What describes the gRPC message and not the REST call it stands for."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What this process answers by gRPC, and who is let in."""

    fast_path: FastPath
    ask: Ask
    guard: CallGuard | None
    """None where everyone is answered."""
    max_body_bytes: int
    """Most bytes of tensors in a message."""


_opened: list[Opened] = []
"""This process's service; empty wherever no application lives."""


def open_service(fast_path: FastPath, ask: Ask, *, guard: CallGuard | None, max_body_bytes: int) -> None:
    """Offer `ask` to the gRPC servers that this process starts from now on; it runs in the loop of `fast_path`."""
    _opened[:] = [Opened(fast_path=fast_path, ask=ask, guard=guard, max_body_bytes=max_body_bytes)]


def most_message_bytes() -> int:
    """The largest message that a gRPC server of this process may read: a call with more is RESOURCE_EXHAUSTED."""
    return max((each.max_body_bytes for each in _opened), default=ServerSettings().max_body_bytes) + FRAME_BYTES


def from_loopback(ask: Ask) -> Ask:
    """`ask`, for callers on this machine alone."""

    async def checked(request: Call) -> Answer:
        if request.client is None or not ipaddress.ip_address(request.client[0]).is_loopback:
            said = "this server answers its own machine only: set http_options.host to serve the network"
            return Answer(status=403, headers=JSON, body=error_body(said))
        return await ask(request)

    return checked


def add_to_server(_: Any, server: Any) -> None:
    """Add the service to one of Ray's gRPC servers."""
    loop = asyncio.get_running_loop()
    opened = next((each for each in _opened if each.fast_path.loop is loop), None)
    if opened is not None:
        server.add_passthrough_service(SERVICE)
        server.add_generic_rpc_handlers((Service(opened.ask, opened.guard),))
    else:
        server.add_generic_rpc_handlers((Service(_replaced),))


class Service(grpc.GenericRpcHandler):
    """The service's RPCs, answered by `ask`; one that `guard` does not let in is refused with its message unread."""

    def __init__(self, ask: Ask, guard: CallGuard | None = None) -> None:
        rpcs: dict[str, Any] = {rpc: grpc.unary_unary_rpc_method_handler(_unary(rpc, ask)) for rpc in REQUESTS}
        rpcs["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(_stream(ask))
        self._method_handlers = {f"/{SERVICE}/{rpc}": handler for rpc, handler in rpcs.items()}  # Ray looks for this
        self._guard = guard

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """What answers a call, found before its message is read; none where it is of another service."""
        handler = self._method_handlers.get(details.method)
        if handler is None or self._guard is None:
            return handler
        headers = _headers(details.invocation_metadata)
        problem = self._guard.problem(details.method.rpartition("/")[2], headers)
        if problem is None:
            return handler
        # Of a handler for streams gRPC reads no message until it asks for one, whatever the call sends.
        return grpc.stream_stream_rpc_method_handler(_refusing(self._guard, details.method, headers, problem))


def with_rpcs(replica: _Class) -> _Class:
    """Give a class that opens the service one method for each RPC, as Ray's own proxy calls it by name."""
    for rpc in REQUESTS:
        setattr(replica, rpc, _method(rpc))
    setattr(replica, "ModelStreamInfer", _stream_method)  # noqa: B010 - RPC names are no names of Python methods
    return replica


def _refusing(guard: CallGuard, path: str, headers: Headers, problem: RequestError) -> Any:
    async def refuse(_: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        guard.record(path, headers, _client(context.peer()), problem)
        await context.abort(CODES[problem.status], str(problem))

    return refuse


def _unary(rpc: str, ask: Ask) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def answer(body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        try:
            message = await _answer(rpc, body, *_caller(context, context.time_remaining()), ask)
        except RpcError as error:
            await context.abort(error.code, str(error))
        return message.SerializeToString()

    return answer


def _stream(ask: Ask) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
    async def answer(
        bodies: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> AsyncIterator[bytes]:
        async for message in _answers(bodies, *_caller(context, context.time_remaining()), ask):
            yield message.SerializeToString()

    return answer


def _method(rpc: str) -> Callable[[Any, bytes, Any], Awaitable[Message]]:
    async def method(_: Any, body: bytes, grpc_context: Any) -> Message:
        headers, client = _caller(grpc_context)
        try:
            return await _answer(rpc, body, headers, client, _let_in(rpc, headers, client))
        except RpcError as error:  # raised, it would be logged with its stack as a failure of ours
            grpc_context.set_code(error.code)
            grpc_context.set_details(str(error))
            return oip.ServerLiveRequest()

    return method


async def _stream_method(_: Any, bodies: AsyncIterator[bytes], grpc_context: Any) -> AsyncIterator[Message]:
    headers, client = _caller(grpc_context)
    try:
        ask = _let_in("ModelStreamInfer", headers, client)
    except RpcError as error:
        grpc_context.set_code(error.code)
        grpc_context.set_details(str(error))
        return
    async for message in _answers(bodies, headers, client, ask):
        yield message


def _let_in(rpc: str, headers: Headers, client: tuple[str, int] | None) -> Ask:
    """What answers a call that came by Ray's own proxy.

    Raises:
        RpcError: it carries no valid key.
    """
    (opened,) = _opened
    problem = opened.guard.problem(rpc, headers) if opened.guard else None
    if opened.guard is None or problem is None:
        return opened.ask
    opened.guard.record(f"/{SERVICE}/{rpc}", headers, client, problem)
    raise RpcError(CODES[problem.status], str(problem))


async def _answer(rpc: str, body: bytes, headers: Headers, client: tuple[str, int] | None, ask: Ask) -> Message:
    call = to_call(rpc, body, headers, client)
    try:
        answer = await ask(call)
    except Exception as error:
        logger.exception("%s failed", rpc)
        raise RpcError(grpc.StatusCode.INTERNAL, f"{rpc} failed; the server's log says why") from error
    message: Message = to_message(rpc, answer)
    return message


async def _answers(
    bodies: AsyncIterator[bytes], headers: Headers, client: tuple[str, int] | None, ask: Ask
) -> AsyncIterator[oip.ModelStreamInferResponse]:
    """The answer to each request of a stream, in order; one that fails leaves the stream open."""
    waiting: asyncio.Queue[asyncio.Task[oip.ModelStreamInferResponse] | None] = asyncio.Queue()
    room = asyncio.Semaphore(STREAM_AHEAD)
    tasks: set[asyncio.Task[Any]] = set()

    async def read() -> None:
        try:
            async for body in bodies:
                await room.acquire()
                task = asyncio.create_task(_streamed(body, headers, client, ask))
                tasks.add(task)
                waiting.put_nowait(task)
        finally:
            waiting.put_nowait(None)

    tasks.add(asyncio.create_task(read()))
    try:
        while (task := await waiting.get()) is not None:
            yield await task
            tasks.discard(task)
            room.release()
    finally:
        for unfinished in tasks:
            unfinished.cancel()


async def _streamed(
    body: bytes, headers: Headers, client: tuple[str, int] | None, ask: Ask
) -> oip.ModelStreamInferResponse:
    try:
        response: Any = await _answer("ModelInfer", body, headers, client, ask)
    except RpcError as error:
        failed = oip.ModelInferResponse(id=_id(body))
        return oip.ModelStreamInferResponse(error_message=str(error), infer_response=failed)
    response.parameters["triton_final_response"].bool_param = True  # each request has one answer
    return oip.ModelStreamInferResponse(infer_response=response)


def _id(body: bytes) -> str:
    """The id by which a client tells which of its requests failed."""
    try:
        message: Any = parse("ModelInfer", body)
    except RpcError:
        return ""
    return str(message.id)


def _headers(metadata: Iterable[tuple[str, str | bytes]] | None, remaining_s: float | None = None) -> Headers:
    """The call's metadata, and its deadline as the REST calls have it."""
    pairs = ((name.lower().encode("latin-1"), value) for name, value in metadata or ())
    headers = [
        (name, value.encode("latin-1", "replace"))
        for name, value in pairs
        if isinstance(value, str) and name not in _NOT_PASSED and not name.startswith((b":", b"inference-"))
    ]
    if remaining_s is not None and all(name != TIMEOUT for name, _ in headers):
        headers.append((TIMEOUT, f"{max(0.0, remaining_s):.6f}".encode()))
    return tuple(headers)


def _caller(context: Any, remaining_s: float | None = None) -> tuple[Headers, tuple[str, int] | None]:
    """Headers and address of who calls; Ray's own context tells no deadline."""
    return _headers(context.invocation_metadata(), remaining_s), _client(context.peer())


def _client(peer: str | None) -> tuple[str, int] | None:
    """Address and port in gRPC's words, such as `ipv4:127.0.0.1:5000`."""
    _, _, address = unquote(peer or "").partition(":")
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None


async def _replaced(_: Call) -> Answer:
    raise AssertionError("Ray replaces these handlers")
