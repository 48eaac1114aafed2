"""A model's answer step by step: Triton's generate extension, and the loop behind it.

    {"token": [2, 7, 4], "parameters": {"max_steps": 20}} -> step, step, step, ... -> an event for each

Every step is a request of its own to the batcher, so streams that run at the same time share batches, and one that ends
leaves its place at once (iteration-level scheduling, Yu et al. 2022, OSDI).
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_generate.md
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from deployments.errors import DeadlineError, RequestError
from deployments.oip.parameters import parameters_of
from deployments.oip.requests import id_of, json_object
from deployments.oip.tensors import DTYPES, Array, check_finite, from_json, to_json
from optimization.artifact.manifest import Manifest, Stream, TensorSpec

Step = Callable[[Mapping[str, Array], float | None], Awaitable[Mapping[str, Array]]]
"""Asks the model for one step; the seconds are those left for it."""

_RESERVED = ("id", "parameters")


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """What a client wants generated; one sample."""

    id: str | None
    parameters: dict[str, Any]
    fixed: dict[str, Array]
    """Inputs that stay the same in every step."""
    prompt: dict[str, Array]
    """Of carried inputs, what to read before the model goes on by itself: `[steps, batch, ...]`."""
    max_steps: int


def stream_of(manifest: Manifest) -> Stream:
    """How the model is driven; one that does not stream takes a single step and gives all its outputs."""
    return manifest.stream or Stream(carry={}, emit=tuple(spec.name for spec in manifest.outputs), max_steps=1)


def parse(body: bytes, manifest: Manifest, raw: TensorSpec | None) -> GenerateRequest:
    """Read a generate request: every key but `id` and `parameters` is an input.

    Raises:
        RequestError: it names the part, the rule and what was got.
    """
    found = json_object(body)
    id_, parameters = id_of(found), parameters_of(found)
    stream = stream_of(manifest)
    carried = set(stream.carry.values())
    given = {name: value for name, value in found.items() if name not in _RESERVED}
    specs = (raw,) if raw is not None and raw.name in given else manifest.inputs
    fixed = {spec.name: _sample(spec, given) for spec in specs if spec.name not in carried}
    prompt = {spec.name: _prompt(spec, given[spec.name]) for spec in specs if spec.name in carried & given.keys()}
    unknown = sorted(given.keys() - {spec.name for spec in specs})
    if unknown:
        known = ", ".join(spec.name for spec in specs)
        raise RequestError(f"inputs must be {known}, got {', '.join(map(repr, unknown))}")
    return GenerateRequest(
        id=id_, parameters=parameters, fixed=fixed, prompt=prompt, max_steps=_max_steps(parameters, stream)
    )


async def steps(
    request: GenerateRequest, manifest: Manifest, step: Step, timeout_s: float | None
) -> AsyncIterator[dict[str, Any]]:
    """What is emitted after each step, as JSON; the prompt's own steps, but for the last, emit nothing.

    Raises:
        DeadlineError: `timeout_s` passed.
        RequestError: a step was refused.
    """
    stream = stream_of(manifest)
    loop = asyncio.get_running_loop()
    end_s = None if timeout_s is None else loop.time() + timeout_s
    carried = {spec.name: _start(spec) for spec in manifest.inputs if spec.name in stream.carry.values()}
    num_read = max((len(samples) for samples in request.prompt.values()), default=1)
    for number in range(num_read - 1 + request.max_steps):
        read = {name: samples[number] for name, samples in request.prompt.items() if number < len(samples)}
        left_s = None if end_s is None else max(0.0, end_s - loop.time())
        try:
            outputs = await step({**request.fixed, **carried, **read}, left_s)
        except DeadlineError as error:  # which knows of the time that was left alone
            raise DeadlineError(f"the request was not answered within its {timeout_s:g} s") from error
        carried = {into: outputs[out] for out, into in stream.carry.items()}
        if number < num_read - 1:
            continue
        yield {name: _plain(name, outputs[name]) for name in stream.emit}
        if any((outputs[name] == value).all() for name, value in stream.until.items()):
            return


def answer(request: GenerateRequest, manifest: Manifest, emitted: Sequence[Mapping[str, Any]]) -> bytes:
    """A response with what was emitted: a value for each output, or with several steps the list of them."""
    values = {name: [each[name] for each in emitted] for name in stream_of(manifest).emit}
    if manifest.stream is None:
        values = {name: steps[0] for name, steps in values.items()}
    return orjson.dumps(_named(request, manifest) | values)


def event(request: GenerateRequest, manifest: Manifest, emitted: Mapping[str, Any]) -> bytes:
    """A server-sent event with what one step emitted."""
    return b"data: " + orjson.dumps(_named(request, manifest) | dict(emitted)) + b"\n\n"


def error_event(message: str) -> bytes:
    """A server-sent event that ends a stream early."""
    return b"data: " + orjson.dumps({"error": message}) + b"\n\n"


def _named(request: GenerateRequest, manifest: Manifest) -> dict[str, Any]:
    named = {"model_name": manifest.name, "model_version": manifest.version}
    return named if request.id is None else {"id": request.id, **named}


def _sample(spec: TensorSpec, given: Mapping[str, Any]) -> Array:
    """The one sample of an input that stays; a dynamic dimension is as long as the data."""
    if spec.name not in given:
        raise RequestError(f"the model needs the input {spec.name!r}")
    data = given[spec.name]
    shape = _nested(data)
    wanted = [size if isinstance(size, int) else None for size in spec.shape[1:]]
    if None in wanted:
        if (
            len(shape) != len(wanted)
            or 0 in shape
            or any(size not in (None, got) for size, got in zip(wanted, shape, strict=True))
        ):
            raise RequestError(f"input {spec.name!r}: data must be nested as [{_text(spec)}], got shape {shape}")
    else:
        shape = [size for size in wanted if size is not None]
    return _tensor(spec, [1, *shape], data)


def _prompt(spec: TensorSpec, data: Any) -> Array:
    """The samples of a carried input that are read one a step; a single one is a prompt of one step."""
    sizes = [size for size in spec.shape[1:] if isinstance(size, int)]
    each = math.prod(sizes)
    if len(sizes) != len(spec.shape) - 1:
        raise RequestError(f"input {spec.name!r} is the model's own state and cannot be given")
    number = math.prod(_nested(data))
    if not number or not each or number % each:
        raise RequestError(f"input {spec.name!r} takes {each} elements for each step to read, got {number}")
    return _tensor(spec, [number // each, 1, *sizes], data)


def _nested(data: Any) -> list[int]:
    """How long the lists are that `data` is nested in, told by the first of each level: whether the others are as long
    is looked at where they become a tensor."""
    shape: list[int] = []
    while isinstance(data, list):
        shape.append(len(data))
        data = data[0] if data else None
    return shape


def _tensor(spec: TensorSpec, shape: list[int], data: Any) -> Array:
    array = from_json(spec.name, spec.datatype, shape, data if isinstance(data, list) else [data])
    check_finite(spec.name, array)
    return array


def _start(spec: TensorSpec) -> Array:
    """What a carried input is before anything was carried: zeros, and of a dynamic dimension, such as what has been
    read so far, nothing yet."""
    return np.zeros([1, *(size if isinstance(size, int) else 0 for size in spec.shape[1:])], DTYPES[spec.datatype])


def _max_steps(parameters: Mapping[str, Any], stream: Stream) -> int:
    wanted = parameters.get("max_steps", stream.max_steps)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= stream.max_steps:
        raise RequestError(f"parameters.max_steps must lie in 1..{stream.max_steps}, got {wanted!r}")
    return wanted


def _plain(name: str, array: Array) -> Any:
    """The elements as JSON, a lone one by itself."""
    elements = to_json(name, array)
    return elements[0] if len(elements) == 1 else elements


def _text(spec: TensorSpec) -> str:
    return ", ".join(map(str, spec.shape[1:]))
