"""`infer MODEL FILE`: one request made of a file, and its answer.

.json                a whole request, or the elements of the model's one input
.npy                 the model's one input, with or without its batch dimension
.txt, .jpg, .png     raw input, where the artifact takes it; of text, each line is a sample
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from deployments.commands.client import Client
from deployments.errors import InputError
from deployments.oip.tensors import DTYPES, Array, to_binary

PICTURES = (".jpg", ".jpeg", ".png")
MAX_SHOWN = 8
"""Elements of an output that are shown."""


def answered(client: Client, model: str, file: Path, top: int | None = None) -> dict[str, Any]:
    """The server's answer to the request that `file` is; `top` asks for the highest classes of each output.

    Raises:
        InputError: the file is not what the model takes.
        CallError: the server does not answer, or refuses.
    """
    described = client.get(f"/v2/models/{model}")
    body, headers = request_of(file, described, top)
    answer: dict[str, Any] = json.loads(client.ask("POST", f"/v2/models/{model}/infer", body, headers)[1])
    return answer


def request_of(file: Path, described: Mapping[str, Any], top: int | None = None) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the request; `described` is the model's metadata.

    Raises:
        InputError: the file is not what the model takes.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    request: dict[str, Any] = {}
    if top is not None:
        request["outputs"] = [
            {"name": output["name"], "parameters": {"classification": top}} for output in described["outputs"]
        ]
    match file.suffix.lower():
        case ".json":
            return _of_json(file, content, described, request)
        case ".npy":
            spec = _only_input(file, described)
            return _of_array(_loaded(file, spec["datatype"]), spec, request)
        case ".txt":
            lines = [line for line in content.splitlines() if line.strip()]
            return _of_array(_objects(lines), _raw_input(file, described), request)
        case suffix if suffix in PICTURES:
            return _of_array(_objects([content]), _raw_input(file, described), request)
        case suffix:
            raise InputError(f"FILE must end in .json, .npy, .txt, {', '.join(PICTURES)}, got {suffix or file.name!r}")


def show(console: Console, answer: Mapping[str, Any]) -> None:
    """The outputs as a table."""
    table = Table("output", "datatype", "shape", "data")
    for output in answer["outputs"]:
        data = [f"{value:.6g}" if isinstance(value, float) else str(value) for value in output["data"]]
        shown = ", ".join(data[:MAX_SHOWN]) + (f", … {len(data) - MAX_SHOWN} more" if len(data) > MAX_SHOWN else "")
        table.add_row(output["name"], output["datatype"], str(output["shape"]), shown)
    console.print(table)
    console.print(f"{answer['model_name']} version {answer['model_version']}", style="dim")


def _of_json(
    file: Path, content: bytes, described: Mapping[str, Any], request: dict[str, Any]
) -> tuple[bytes, dict[str, str]]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise InputError(f"{file} is no JSON: {error}") from error
    if isinstance(found, dict):  # a whole request: what is wrong with it, the server says
        return json.dumps(found | request).encode(), {"Content-Type": "application/json"}
    spec = _only_input(file, described)
    if spec["datatype"] == "BYTES":
        raise InputError(f"{file}: elements of BYTES need a whole request, {{'inputs': [...]}}")
    try:
        array = np.asarray(found, DTYPES[spec["datatype"]])
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{file} must hold elements of {spec['datatype']}: {error}") from error
    return _of_array(array, spec, request)


def _of_array(array: Array, spec: Mapping[str, Any], request: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """`array` as a binary tensor, a batch of one where it lacks the first dimension."""
    if array.ndim == len(spec["shape"]) - 1:
        array = array[None]
    raw = to_binary(array)
    tensor = {"name": spec["name"], "datatype": spec["datatype"], "shape": list(array.shape)}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    header = json.dumps({"inputs": [tensor], **request}).encode()
    return header + raw, {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(header)),
    }


def _loaded(file: Path, datatype: str) -> Array:
    """The array in `file`; of another width it is converted, of another kind it is refused."""
    try:
        array: Array = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is no array of numbers: {error}") from error
    wanted = DTYPES[datatype]
    if not np.can_cast(array.dtype, wanted, casting="same_kind") or array.dtype.kind != wanted.kind:
        raise InputError(f"{file} must hold elements of {datatype}, got {array.dtype}")
    return array.astype(wanted)


def _objects(elements: list[bytes]) -> Array:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


def _only_input(file: Path, described: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs: list[Mapping[str, Any]] = described["inputs"]
    if len(inputs) != 1:
        names = ", ".join(each["name"] for each in inputs)
        raise InputError(f"{file}: the model takes {names}, so it needs a whole request as .json: {{'inputs': [...]}}")
    return inputs[0]


def _raw_input(file: Path, described: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] | None = described.get("raw_input")
    if spec is None:
        shapes = ", ".join(f"{each['name']} {each['datatype']} {each['shape']}" for each in described["inputs"])
        raise InputError(f"{file}: model {described['name']!r} takes no raw input, only {shapes}")
    return spec
