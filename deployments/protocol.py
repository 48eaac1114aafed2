"""Open Inference Protocol v2: requests and responses, JSON with or without binary tensors.

    decode: body -> header JSON + raw buffers -> checked against the manifest -> InferRequest
    encode: InferRequest + output tensors -> JSON, and the raw buffers of the outputs asked for as binary

https://github.com/kserve/open-inference-protocol
"""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from deployments.errors import BodyTooLargeError, RequestError
from deployments.tensors import DTYPES, Array, check_finite, from_binary, from_json, to_binary, to_json
from optimization.artifact import TensorSpec

HEADER_LENGTH = b"inference-header-content-length"


@dataclass(frozen=True, kw_only=True)
class InferRequest:
    """A request that fits the model."""

    id: str | None
    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    """Names of the outputs asked for, in that order."""
    binary: frozenset[str]
    """Those of them to be answered as raw bytes."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """A body and the headers that describe it."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Undo the content encoding `gzip` or `deflate`.

    Raises:
        RequestError: the encoding is unknown or the body is damaged.
        BodyTooLargeError: it unpacks to more than `limit_bytes`.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise RequestError(f"content-encoding must be gzip, deflate or identity, got {encoding!r}")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: takes the header of gzip and of zlib
    try:
        unpacked = inflate.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise RequestError(f"the {encoding} body is damaged: {error}") from error
    if len(unpacked) > limit_bytes:
        raise BodyTooLargeError(f"the body must have at most {limit_bytes} bytes, got more after {encoding} decoding")
    if not inflate.eof:
        raise RequestError(f"the {encoding} body is cut off")
    return unpacked


def compress(body: bytes, encoding: str) -> bytes:
    """Apply the content encoding `gzip` or `deflate`, quickly rather than tightly."""
    return gzip.compress(body, compresslevel=1) if encoding == "gzip" else zlib.compress(body, level=1)


def decode(
    body: bytes, header_length: str | None, inputs: Sequence[TensorSpec], outputs: Sequence[str]
) -> InferRequest:
    """Read an infer request and check it against the model's `inputs` and `outputs`.

    `header_length` is the `Inference-Header-Content-Length` header: where the JSON ends and the raw buffers begin.

    Raises:
        RequestError: it names the part, the rule and what was got.
    """
    end = _header_end(header_length, len(body))
    try:
        request = orjson.loads(body[:end] if end != len(body) else body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the request must be JSON: {error}") from error
    if not isinstance(request, dict):
        raise RequestError(f"the request must be a JSON object, got {type(request).__name__}")
    id_ = request.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise RequestError(f"id must be a string, got {id_!r}")
    arrays = _inputs(request, inputs, memoryview(body)[end:])
    names, binary = _outputs(request, outputs)
    return InferRequest(id=id_, inputs=arrays, outputs=names, binary=binary)


def encode(
    model: str, version: str, request: InferRequest, outputs: Mapping[str, Array], types: Mapping[str, str]
) -> Response:
    """The response to `request`; `types` gives each output's datatype."""
    entries: list[dict[str, Any]] = []
    buffers: list[bytes] = []
    for name in request.outputs:
        array = outputs[name]
        entry: dict[str, Any] = {"name": name, "datatype": types[name], "shape": list(array.shape)}
        if name in request.binary:
            buffers.append(to_binary(array))
            entry["parameters"] = {"binary_data_size": len(buffers[-1])}
        else:
            entry["data"] = to_json(array)
        entries.append(entry)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": entries}
    if request.id is not None:
        answer["id"] = request.id
    header = orjson.dumps(answer)
    if not buffers:
        return Response(body=header, headers=((b"content-type", b"application/json"),))
    return Response(
        body=b"".join((header, *buffers)),
        headers=(
            (b"content-type", b"application/octet-stream"),
            (HEADER_LENGTH, str(len(header)).encode()),
        ),
    )


def describe(spec: TensorSpec) -> dict[str, Any]:
    """A tensor as model metadata shows it; -1 stands for a dynamic dimension."""
    shape = [size if isinstance(size, int) else -1 for size in spec.shape]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}


def _header_end(header_length: str | None, body_bytes: int) -> int:
    if header_length is None:
        return body_bytes
    if not header_length.isascii() or not header_length.isdigit() or int(header_length) > body_bytes:
        raise RequestError(
            f"Inference-Header-Content-Length must be at most the body's {body_bytes} bytes, got {header_length!r}"
        )
    return int(header_length)


def _inputs(request: dict[str, Any], specs: Sequence[TensorSpec], raw: memoryview) -> dict[str, Array]:
    entries = request.get("inputs")
    if not isinstance(entries, list):
        raise RequestError(f"inputs must be a list of tensors, got {type(entries).__name__}")
    known = {spec.name: spec for spec in specs}
    arrays: dict[str, Array] = {}
    sizes: dict[str, int] = {}
    at = 0
    for entry in entries:
        if not isinstance(entry, dict):
            raise RequestError(f"an input must be an object, got {type(entry).__name__}")
        name = entry.get("name")
        if not isinstance(name, str) or name not in known:
            raise RequestError(f"input names must be {_names(known)}, got {name!r}")
        if name in arrays:
            raise RequestError(f"input {name!r} must be given once")
        shape = _shape(entry, known[name], sizes)
        size = _parameters(entry).get("binary_data_size")
        if size is None:
            if "data" not in entry:
                raise RequestError(f"input {name!r} needs data, or the parameter binary_data_size")
            array = from_json(name, known[name].datatype, shape, entry["data"])
        else:
            if not _is_size(size) or at + size > len(raw):
                raise RequestError(
                    f"input {name!r}: binary_data_size must be at most the {len(raw) - at} bytes left, got {size!r}"
                )
            array = from_binary(name, known[name].datatype, shape, raw[at : at + size])
            at += size
        check_finite(name, array)
        arrays[name] = array
    if at != len(raw):
        raise RequestError(f"{len(raw) - at} bytes follow the last binary tensor")
    missing = known.keys() - arrays.keys()
    if missing:
        raise RequestError(f"the model needs the inputs {_names(known)}, missing {_names(missing)}")
    return arrays


def _shape(entry: dict[str, Any], spec: TensorSpec, sizes: dict[str, int]) -> list[int]:
    """The entry's shape, checked against `spec`; `sizes` collects what each named dimension is in this request."""
    name, datatype, shape = spec.name, entry.get("datatype"), entry.get("shape")
    if datatype != spec.datatype:
        rule = f"must be {spec.datatype}" if datatype in DTYPES else f"must be one of {', '.join(DTYPES)}"
        raise RequestError(f"input {name!r}: datatype {rule}, got {datatype!r}")
    if not isinstance(shape, list) or not all(_is_size(size) for size in shape):
        raise RequestError(f"input {name!r}: shape must be a list of sizes, got {shape!r}")
    fits = len(shape) == len(spec.shape) and all(
        size == sizes.setdefault(wanted, size) and size > 0 if isinstance(wanted, str) else size == wanted
        for size, wanted in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        wanted_shape = ", ".join(map(str, spec.shape))
        raise RequestError(
            f"input {name!r}: shape must be [{wanted_shape}], names standing for any size > 0, got {shape}"
        )
    return shape


def _outputs(request: dict[str, Any], known: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    all_binary = bool(_parameters(request).get("binary_data_output", False))
    entries = request.get("outputs")
    if entries is None or entries == []:
        return tuple(known), frozenset(known if all_binary else ())
    if not isinstance(entries, list):
        raise RequestError(f"outputs must be a list, got {type(entries).__name__}")
    names: list[str] = []
    binary: set[str] = set()
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name not in known:
            raise RequestError(f"output names must be {_names(known)}, got {name!r}")
        if name in names:
            raise RequestError(f"output {name!r} must be asked for once")
        names.append(name)
        if _parameters(entry).get("binary_data", all_binary):
            binary.add(name)
    return tuple(names), frozenset(binary)


def _parameters(entry: dict[str, Any]) -> dict[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise RequestError(f"parameters must be an object, got {type(parameters).__name__}")
    return parameters


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _names(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names))
