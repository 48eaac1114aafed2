"""Infer requests: JSON with or without binary tensors, checked against what the model takes.

    body -> header JSON + raw buffers -> names, datatypes and shapes as in the manifest -> InferRequest

https://github.com/kserve/open-inference-protocol, and Triton's extension "binary tensor data":
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from deployments.errors import RequestError, brief
from deployments.oip.tensors import DTYPES, Array, check_finite, from_binary, from_json
from optimization.artifact.manifest import TensorSpec

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
    classes: Mapping[str, int] = field(default_factory=dict)
    """Those of them to be answered as their so many highest classes."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The request's own, such as `timeout` and `priority`."""


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
    names, binary, classes = _outputs(request, outputs)
    return InferRequest(
        id=id_of(request),
        inputs=arrays,
        outputs=names,
        binary=binary,
        classes=classes,
        parameters=parameters_of(request),
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


def parameters_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request, an input or an output; empty where it has none.

    Raises:
        RequestError: they are no object.
    """
    found = entry.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise RequestError(f"parameters must be an object, got {type(found).__name__}")
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
    known = {spec.name: spec for spec in specs}
    arrays: dict[str, Array] = {}
    sizes: dict[str, int] = {}
    at = 0
    for entry in entries:
        if not isinstance(entry, dict):
            raise RequestError(f"an input must be an object, got {type(entry).__name__}")
        name = entry.get("name")
        if not isinstance(name, str) or name not in known:
            raise RequestError(f"input names must be {_names(known)}, got {brief(name)}")
        if name in arrays:
            raise RequestError(f"input {name!r} must be given once")
        shape = _shape(entry, known[name], sizes)
        size = parameters_of(entry).get("binary_data_size")
        if size is None:
            if "data" not in entry:
                raise RequestError(f"input {name!r} needs data, or the parameter binary_data_size")
            array = from_json(name, known[name].datatype, shape, entry["data"])
        else:
            if not _is_size(size) or at + size > len(raw):
                raise RequestError(
                    f"input {name!r}: binary_data_size must be at most the {len(raw) - at} bytes left, "
                    f"got {brief(size)}"
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
        raise RequestError(f"input {name!r}: datatype {rule}, got {brief(datatype)}")
    if not isinstance(shape, list) or not all(map(_is_size, shape)):
        raise RequestError(f"input {name!r}: shape must be a list of sizes, got {brief(shape)}")
    if not _fits(shape, spec, sizes):
        wanted_shape = ", ".join(map(str, spec.shape))
        raise RequestError(
            f"input {name!r}: shape must be [{wanted_shape}], names standing for any size > 0, got {brief(shape)}"
        )
    return shape


def _fits(shape: list[int], spec: TensorSpec, sizes: dict[str, int]) -> bool:
    if len(shape) != len(spec.shape):
        return False
    for size, wanted in zip(shape, spec.shape, strict=True):
        if isinstance(wanted, int):
            if size != wanted:
                return False
        elif size <= 0 or sizes.setdefault(wanted, size) != size:
            return False
    return True


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
        raise RequestError(f"{form} leaves open what {_names(varying)} of input {spec.name!r} are: send JSON")
    else:
        step = DTYPES[spec.datatype].itemsize * math.prod(size for size in spec.shape if isinstance(size, int))
        if varying and (not body or len(body) % step):
            raise RequestError(f"input {spec.name!r} takes a multiple of {step} bytes, got {len(body)}")
        shape = [size if isinstance(size, int) else len(body) // step for size in spec.shape]
    array = from_binary(spec.name, spec.datatype, shape, memoryview(body))
    check_finite(spec.name, array)
    return {spec.name: array}


def _outputs(request: dict[str, Any], known: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str], dict[str, int]]:
    """Names asked for, which of them as bytes, and of which so many classes."""
    all_binary = _flag(request, "binary_data_output", False)
    entries = request.get("outputs")
    if entries is None or entries == []:
        return tuple(known), frozenset(known if all_binary else ()), {}
    if not isinstance(entries, list):
        raise RequestError(f"outputs must be a list, got {type(entries).__name__}")
    names: list[str] = []
    binary: set[str] = set()
    classes: dict[str, int] = {}
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name not in known:
            raise RequestError(f"output names must be {_names(known)}, got {brief(name)}")
        if name in names:
            raise RequestError(f"output {name!r} must be asked for once")
        names.append(name)
        if _flag(entry, "binary_data", all_binary):
            binary.add(name)
        count = parameters_of(entry).get("classification", 0)
        if not _is_size(count):
            raise RequestError(f"output {name!r}: classification must be a number of classes, got {brief(count)}")
        if count:
            classes[name] = count
    return tuple(names), frozenset(binary), classes


def _flag(entry: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters_of(entry).get(name, default)
    if not isinstance(value, bool):
        raise RequestError(f"the parameter {name} must be true or false, got {brief(value)}")
    return value


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _names(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names))
