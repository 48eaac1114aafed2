"""The Open Inference Protocol's gRPC calls, as the REST calls they stand for.

    call:   RPC and its message -> method, path, JSON and binary tensors -> asgi.Call
    answer: asgi.Answer         -> the RPC's response message, or RpcError with the same words

So there is one implementation of the protocol, and what guards the REST calls guards these too. Tensors stay bytes on
the way: only the typed `contents` that a client may send are converted. Outputs are always raw: clients read no other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import orjson
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message

from deployments.errors import RequestError
from deployments.http.asgi import Answer, Call
from deployments.oip import inference_pb2 as oip
from deployments.oip.requests import HEADER_LENGTH
from deployments.oip.tensors import DTYPES, to_binary

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

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field that holds a datatype's elements where they are not sent raw; FP16 and BF16 have none."""

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


def to_call(rpc: str, request: Any, headers: Headers, client: tuple[str, int] | None) -> Call:
    """The REST call that `rpc` stands for.

    Raises:
        RpcError: the message breaks a rule of the gRPC form.
    """
    try:
        method, path, more, body = _infer(request) if rpc == "ModelInfer" else _ask(rpc, request)
    except RequestError as error:
        raise RpcError(CODES[error.status], str(error)) from error
    return Call(method=method, path=path, headers=(*headers, *more), body=body, client=client)


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
        return _infer_response(answer)
    content = orjson.loads(answer.body) if answer.body else {}
    return _WRITE[rpc](content)


def _ask(rpc: str, request: Any) -> tuple[str, str, Headers, bytes]:
    match rpc:
        case "ServerLive":
            return "GET", "/v2/health/live", (), b""
        case "ServerReady":
            return "GET", "/v2/health/ready", (), b""
        case "ServerMetadata":
            return "GET", "/v2", (), b""
        case "ModelReady":
            return "GET", _model(request.name, request.version) + "/ready", (), b""
        case "ModelMetadata":
            return "GET", _model(request.name, request.version), (), b""
        case "ModelConfig":
            return "GET", _model(request.name, request.version) + "/config", (), b""
        case "ModelStatistics":
            path = _model(request.name, request.version) if request.name else "/v2/models"
            return "GET", path + "/stats", (), b""
        case "RepositoryIndex":
            return "POST", "/v2/repository/index", (), orjson.dumps({"ready": request.ready})
        case "RepositoryModelLoad" | "RepositoryModelUnload":
            action = "load" if rpc == "RepositoryModelLoad" else "unload"
            body = {"parameters": _parameters(request.parameters)}
            return "POST", f"/v2/repository/models/{_name(request.model_name)}/{action}", (), orjson.dumps(body)
        case "TraceSetting":
            path = _model(request.model_name, "") if request.model_name else "/v2"
            settings = {name: list(setting.value) for name, setting in request.settings.items()}
            return ("POST" if settings else "GET"), f"{path}/trace/setting", (), orjson.dumps(settings)
        case _:  # LogSettings
            settings = _parameters(request.settings)
            return ("POST" if settings else "GET"), "/v2/logging", (), orjson.dumps(settings)


def _infer(request: oip.ModelInferRequest) -> tuple[str, str, Headers, bytes]:
    buffers = _buffers(request)
    inputs: list[dict[str, Any]] = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": {**_parameters(tensor.parameters), "binary_data_size": len(buffer)},
        }
        for tensor, buffer in zip(request.inputs, buffers, strict=True)
    ]
    header: dict[str, Any] = {
        "parameters": {**_parameters(request.parameters), "binary_data_output": True},
        "inputs": inputs,
        "outputs": [
            {"name": tensor.name, "parameters": {**_parameters(tensor.parameters), "binary_data": True}}
            for tensor in request.outputs
        ],
    }
    if request.id:
        header["id"] = request.id
    json = orjson.dumps(header)
    path = _model(request.model_name, request.model_version) + "/infer"
    return "POST", path, ((HEADER_LENGTH, str(len(json)).encode()),), b"".join((json, *buffers))


def _buffers(request: oip.ModelInferRequest) -> Sequence[bytes]:
    """Each input's elements as bytes."""
    raw = request.raw_input_contents
    if not raw:
        return [_contents(tensor) for tensor in request.inputs]
    both = [tensor.name for tensor in request.inputs if tensor.HasField("contents")]
    if both:  # in Triton's words, which its example clients look for
        rule = "contents field must not be specified when using raw_input_contents"
        raise RequestError(f"{rule} for {both[0]!r} for model {request.model_name!r}")
    if len(raw) != len(request.inputs):
        raise RequestError(
            f"raw_input_contents must have one entry for each of the {len(request.inputs)} inputs, got {len(raw)}"
        )
    return raw


def _contents(tensor: oip.ModelInferRequest.InferInputTensor) -> bytes:
    name, datatype = tensor.name, tensor.datatype
    given = [field.name for field, _ in tensor.contents.ListFields()]
    field = _CONTENTS.get(datatype)
    if given and field is None:
        raise RequestError(f"input {name!r}: {datatype} is sent in raw_input_contents, got {given[0]}")
    if field is None or not given:
        return b""  # no elements, or a datatype that the decoder refuses by its name
    if given != [field]:
        raise RequestError(f"input {name!r}: {datatype} is sent in {field}, got {', '.join(given)}")
    elements = getattr(tensor.contents, field)
    dtype = DTYPES[datatype]
    try:
        return to_binary(np.array(list(elements), dtype))
    except OverflowError as error:
        limits = np.iinfo(dtype)
        rule = f"{datatype} lies in [{limits.min}, {limits.max}]"
        raise RequestError(f"input {name!r}: {rule}, got {min(elements)} to {max(elements)}") from error


def _infer_response(answer: Answer) -> oip.ModelInferResponse:
    length = next((int(value) for name, value in answer.headers if name == HEADER_LENGTH), len(answer.body))
    header = orjson.loads(answer.body[:length])
    response = oip.ModelInferResponse(
        model_name=header["model_name"], model_version=header["model_version"], id=header.get("id", "")
    )
    at = length
    for output in header["outputs"]:
        response.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        size = output["parameters"]["binary_data_size"]
        response.raw_output_contents.append(answer.body[at : at + size])
        at += size
    return response


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


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the parameters were set to; one set to nothing is left out."""
    chosen = ((name, value, value.WhichOneof("parameter_choice")) for name, value in parameters.items())
    values = {name: getattr(value, choice) for name, value, choice in chosen if choice}
    return {name: value.decode("latin-1") if isinstance(value, bytes) else value for name, value in values.items()}
