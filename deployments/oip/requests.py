"""Infer requests: JSON with or without binary tensors, checked against what the model takes.

    body -> header JSON + raw buffers -> the checks of `infer_request` -> InferRequest

https://github.com/kserve/open-inference-protocol, and Triton's extension "binary tensor data":
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from deployments.errors import RequestError, brief
from deployments.oip.infer_request import GivenInputs, InferRequest, asked_outputs, is_size, quoted
from deployments.oip.parameters import flag, parameters_of
from deployments.oip.tensors import DTYPES, Array, check_finite, from_binary, from_json
from optimization.artifact.manifest import TensorSpec

HEADER_LENGTH = b"inference-header-content-length"


def decode(
    body: bytes,
    header_length: str | None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[str],
    raw: TensorSpec | None = None,
) -> InferRequest:
    """Read an infer request and check it against the model's `inputs` and `outputs`.

    `header_length` is the `Inference-Header-Content-Length` header: where the JSON ends and the raw buffers begin. At
    "0" there is no JSON: the body is the one input's elements, and the answer is binary as well. `raw` may be given in
    place of all of `inputs`.

    Raises:
        RequestError: it names the part, the rule and what was got.
    """
    if header_length == "0":
        array = _lone_input((raw,) if raw is not None else inputs, body)
        return InferRequest(id=None, inputs=array, outputs=tuple(outputs), binary=frozenset(outputs))
    end = _header_end(header_length, len(body))
    request = json_object(body[:end] if end != len(body) else body)
    specs = (raw,) if raw is not None and _names_input(request, raw.name) else inputs
    arrays = _inputs(request, specs, memoryview(body)[end:])
    parameters = parameters_of(request)
    all_binary = flag(parameters, "binary_data_output", False)
    names, binary, classes = asked_outputs(request.get("outputs"), outputs, all_binary=all_binary)
    return InferRequest(
        id=id_of(request),
        inputs=arrays,
        outputs=names,
        binary=binary,
        classes=classes,
        parameters=parameters,
    )


def json_object(body: bytes, *, or_empty: bool = False) -> dict[str, Any]:
    """The JSON object that `body` is; none of its keys where it may be empty and is.

    Raises:
        RequestError: it is something else.
    """
    if or_empty and not body:
        return {}
    rule = f"the request must be a JSON object{' or empty' if or_empty else ''}"
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"{rule}: {error}") from error
    if not isinstance(found, dict):
        raise RequestError(f"{rule}, got {type(found).__name__}")
    return found


def id_of(request: Mapping[str, Any]) -> str | None:
    """The id to be answered, if the client gave one.

    Raises:
        RequestError: it is no string.
    """
    found = request.get("id")
    if found is not None and not isinstance(found, str):
        raise RequestError(f"id must be a string, got {brief(found)}")
    return found


def _header_end(header_length: str | None, body_bytes: int) -> int:
    if header_length is None:
        return body_bytes
    is_number = header_length.isascii() and header_length.isdigit() and len(header_length) <= 20
    if not is_number or int(header_length) > body_bytes:
        raise RequestError(
            f"Inference-Header-Content-Length must be at most the body's {body_bytes} bytes, got {brief(header_length)}"
        )
    return int(header_length)


def _names_input(request: dict[str, Any], name: str) -> bool:
    entries = request.get("inputs")
    return isinstance(entries, list) and any(isinstance(entry, dict) and entry.get("name") == name for entry in entries)


def _inputs(request: dict[str, Any], specs: Sequence[TensorSpec], raw: memoryview) -> dict[str, Array]:
    entries = request.get("inputs")
    if not isinstance(entries, list):
        raise RequestError(f"inputs must be a list of tensors, got {type(entries).__name__}")
    given = GivenInputs(specs)
    at = 0
    for entry in entries:
        if not isinstance(entry, dict):
            raise RequestError(f"an input must be an object, got {type(entry).__name__}")
        spec, shape = given.expect(entry.get("name"), entry.get("datatype"), entry.get("shape"))
        name, size = spec.name, parameters_of(entry).get("binary_data_size")
        if size is None:
            if "data" not in entry:
                raise RequestError(f"input {name!r} needs data, or the parameter binary_data_size")
            array = from_json(name, spec.datatype, shape, entry["data"])
        else:
            if not is_size(size) or at + size > len(raw):
                raise RequestError(
                    f"input {name!r}: binary_data_size must be at most the {len(raw) - at} bytes left, "
                    f"got {brief(size)}"
                )
            array = from_binary(name, spec.datatype, shape, raw[at : at + size])
            at += size
        given.add(name, array)
    if at != len(raw):
        raise RequestError(f"{len(raw) - at} bytes follow the last binary tensor")
    return given.all()


def _lone_input(specs: Sequence[TensorSpec], body: bytes) -> dict[str, Array]:
    """The body as the model's only input; its size gives the one dimension that may vary."""
    form = "a request without JSON (Inference-Header-Content-Length 0)"
    if len(specs) != 1:
        raise RequestError(f"{form} needs a model of one input, this one has {len(specs)}: send JSON")
    (spec,) = specs
    varying = [size for size in spec.shape if isinstance(size, str)]
    if spec.datatype == "BYTES":
        shape = [size if isinstance(size, int) else 1 for size in spec.shape]
        body = struct.pack("<I", len(body)) + body  # one element; the client leaves its length out
    elif len(varying) > 1:
        raise RequestError(f"{form} leaves open what {quoted(varying)} of input {spec.name!r} are: send JSON")
    else:
        step = DTYPES[spec.datatype].itemsize * math.prod(size for size in spec.shape if isinstance(size, int))
        if varying and (not body or len(body) % step):
            raise RequestError(f"input {spec.name!r} takes a multiple of {step} bytes, got {len(body)}")
        shape = [size if isinstance(size, int) else len(body) // step for size in spec.shape]
    array = from_binary(spec.name, spec.datatype, shape, memoryview(body))
    check_finite(spec.name, array)
    return {spec.name: array}
