"""Infer responses: JSON, and the raw buffers of the outputs asked for as binary.

The binary tensors and the classes are Triton's extensions:
https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from deployments.oip.classification import highest
from deployments.oip.infer_request import InferRequest
from deployments.oip.requests import HEADER_LENGTH
from deployments.oip.tensors import Array, to_binary, to_json
from optimization.artifact.manifest import TensorSpec


@dataclass(frozen=True, kw_only=True)
class Response:
    """A body and the headers that describe it."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def encode(
    model: str,
    version: str,
    request: InferRequest,
    outputs: Mapping[str, Array],
    types: Mapping[str, str],
    labels: Sequence[str] | None = None,
) -> Response:
    """The response to `request`; `types` gives each output's datatype, `labels` the names of the classes.

    Raises:
        RequestError: an output cannot be given in the form asked for.
    """
    entries: list[dict[str, Any]] = []
    buffers: list[bytes] = []
    for name, datatype, array in asked(request, outputs, types, labels):
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if name in request.binary:
            buffers.append(to_binary(array))
            entry["parameters"] = {"binary_data_size": len(buffers[-1])}
        else:
            entry["data"] = to_json(name, array)
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


def asked(
    request: InferRequest, outputs: Mapping[str, Array], types: Mapping[str, str], labels: Sequence[str] | None
) -> Iterator[tuple[str, str, Array]]:
    """Name, datatype and elements of each output that is asked for, in that order; its classes, where those are.

    Raises:
        RequestError: an output has no classes.
    """
    for name in request.outputs:
        if name in request.classes:
            yield name, "BYTES", highest(name, outputs[name], request.classes[name], labels)
        else:
            yield name, types[name], outputs[name]


def describe(spec: TensorSpec) -> dict[str, Any]:
    """A tensor as model metadata shows it; -1 stands for a dynamic dimension."""
    shape = [size if isinstance(size, int) else -1 for size in spec.shape]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}
