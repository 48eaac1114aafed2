"""The Open Inference Protocol's gRPC calls, as the REST calls they stand for.

    call:   RPC and its message -> method, path, JSON -> asgi.Call
    answer: asgi.Answer         -> the RPC's response message, or RpcError with the same words

So there is one implementation of the protocol, and what guards the REST calls guards these too. A request to infer
passes as the message it is, and so does its answer: `infer_message` makes tensors of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import orjson
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message

from deployments.errors import RequestError
from deployments.http.asgi import Answer, Call, ParsedBody
from deployments.oip import inference_pb2 as oip
from deployments.oip.parameters import from_protobuf

REQUESTS: dict[str, type[Message]] = {
    "ServerLive": oip.ServerLiveRequest,
    "ServerReady": oip.ServerReadyRequest,
    "ServerMetadata": oip.ServerMetadataRequest,
    "ModelReady": oip.ModelReadyRequest,
    "ModelMetadata": oip.ModelMetadataRequest,
    "ModelConfig": oip.ModelConfigRequest,
    "ModelStatistics": oip.ModelStatisticsRequest,
    "ModelInfer": oip.ModelInferRequest,
    "RepositoryIndex": oip.RepositoryIndexRequest,
    "RepositoryModelLoad": oip.RepositoryModelLoadRequest,
    "RepositoryModelUnload": oip.RepositoryModelUnloadRequest,
    "TraceSetting": oip.TraceSettingRequest,
    "LogSettings": oip.LogSettingsRequest,
}
"""The unary calls and what each is sent."""

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""What each HTTP status is called in gRPC; any other is INTERNAL."""

Headers = tuple[tuple[bytes, bytes], ...]


class RpcError(Exception):
    """An RPC that fails: its status code and what the client is told."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse(rpc: str, body: bytes) -> Message:
    """The request message of `rpc`.

    Raises:
        RpcError: the bytes are no such message.
    """
    message = REQUESTS[rpc]()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        rule = f"the body must be an inference.{message.DESCRIPTOR.name}: {error}"
        raise RpcError(grpc.StatusCode.INVALID_ARGUMENT, rule) from error
    return message


def to_call(rpc: str, body: bytes, headers: Headers, client: tuple[str, int] | None) -> Call:
    """The REST call that `rpc` stands for; a request to infer stays the message it is.

    Raises:
        RpcError: the bytes are no message of it, or no call that there is.
    """
    request: Any = parse(rpc, body)
    try:
        if rpc == "ModelInfer":
            path = _model(request.model_name, request.model_version) + "/infer"
            parsed = ParsedBody(message=request, size_bytes=len(body))
            return Call(method="POST", path=path, headers=headers, parsed=parsed, client=client)
        method, path, content = _ask(rpc, request)
    except RequestError as error:
        raise RpcError(CODES[error.status], str(error)) from error
    return Call(method=method, path=path, headers=headers, body=content, client=client)


def to_message(rpc: str, answer: Answer) -> Any:
    """The response message of `rpc`.

    Raises:
        RpcError: the REST call failed.
    """
    if rpc == "ModelReady" and answer.status in (404, 503):
        return oip.ModelReadyResponse(ready=False)
    if answer.status >= 400 and rpc != "ServerReady":
        raise _error(answer)
    if rpc == "ModelInfer":
        return answer.message
    content = orjson.loads(answer.body) if answer.body else {}
    return _WRITE[rpc](content)


def _ask(rpc: str, request: Any) -> tuple[str, str, bytes]:
    match rpc:
        case "ServerLive":
            return "GET", "/v2/health/live", b""
        case "ServerReady":
            return "GET", "/v2/health/ready", b""
        case "ServerMetadata":
            return "GET", "/v2", b""
        case "ModelReady":
            return "GET", _model(request.name, request.version) + "/ready", b""
        case "ModelMetadata":
            return "GET", _model(request.name, request.version), b""
        case "ModelConfig":
            return "GET", _model(request.name, request.version) + "/config", b""
        case "ModelStatistics":
            path = _model(request.name, request.version) if request.name else "/v2/models"
            return "GET", path + "/stats", b""
        case "RepositoryIndex":
            return "POST", "/v2/repository/index", orjson.dumps({"ready": request.ready})
        case "RepositoryModelLoad" | "RepositoryModelUnload":
            action = "load" if rpc == "RepositoryModelLoad" else "unload"
            body = {"parameters": from_protobuf(request.parameters)}
            return "POST", f"/v2/repository/models/{_name(request.model_name)}/{action}", orjson.dumps(body)
        case "TraceSetting":
            path = _model(request.model_name, "") if request.model_name else "/v2"
            settings = {name: list(setting.value) for name, setting in request.settings.items()}
            return ("POST" if settings else "GET"), f"{path}/trace/setting", orjson.dumps(settings)
        case _:  # LogSettings
            settings = from_protobuf(request.settings)
            return ("POST" if settings else "GET"), "/v2/logging", orjson.dumps(settings)


def _settings_message(settings: Mapping[str, Any]) -> Message:
    values = {name: {"value": v if isinstance(v, list) else [str(v)]} for name, v in settings.items()}
    return ParseDict({"settings": values}, oip.TraceSettingResponse())


def _log_message(settings: Mapping[str, Any]) -> Message:
    fields = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    values = {name: {fields[type(value)]: value} for name, value in settings.items()}
    return ParseDict({"settings": values}, oip.LogSettingsResponse())


def _as(response: type[Message]) -> Callable[[Any], Message]:
    return lambda content: ParseDict(content, response(), ignore_unknown_fields=True)


_WRITE: dict[str, Callable[[Any], Message]] = {
    "ServerLive": _as(oip.ServerLiveResponse),
    "ServerReady": _as(oip.ServerReadyResponse),
    "ServerMetadata": _as(oip.ServerMetadataResponse),
    "ModelReady": _as(oip.ModelReadyResponse),
    "ModelMetadata": _as(oip.ModelMetadataResponse),
    "ModelConfig": lambda content: ParseDict({"config": content}, oip.ModelConfigResponse(), True),
    "ModelStatistics": _as(oip.ModelStatisticsResponse),
    "RepositoryIndex": lambda content: ParseDict({"models": content}, oip.RepositoryIndexResponse()),
    "RepositoryModelLoad": lambda _: oip.RepositoryModelLoadResponse(),
    "RepositoryModelUnload": lambda _: oip.RepositoryModelUnloadResponse(),
    "TraceSetting": _settings_message,
    "LogSettings": _log_message,
}


def _error(answer: Answer) -> RpcError:
    try:
        message = str(orjson.loads(answer.body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = f"status {answer.status}"
    return RpcError(CODES.get(answer.status, grpc.StatusCode.INTERNAL), message)


def _model(name: str, version: str) -> str:
    path = f"/v2/models/{_name(name)}"
    return f"{path}/versions/{version}" if version else path


def _name(name: str) -> str:
    if not name or "/" in name:
        raise RequestError(f"the model's name must be given and hold no '/', got {name!r}")
    return name
