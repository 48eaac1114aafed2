"""Infer requests and responses as gRPC messages: decoded and encoded with no JSON in between.

    ModelInferRequest -> raw or typed contents -> the checks of `infer_request` -> InferRequest
    outputs -> ModelInferResponse, always raw: clients read no other

https://github.com/kserve/open-inference-protocol
"""

from collections.abc import Mapping, Sequence

import numpy as np

from deployments.errors import RequestError
from deployments.oip import inference_pb2 as oip
from deployments.oip.infer_request import GivenInputs, InferRequest, asked_outputs
from deployments.oip.parameters import from_protobuf
from deployments.oip.responses import asked
from deployments.oip.tensors import DTYPES, Array, from_binary, to_binary
from optimization.artifact.manifest import TensorSpec

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


def decode(
    message: oip.ModelInferRequest, inputs: Sequence[TensorSpec], outputs: Sequence[str], raw: TensorSpec | None = None
) -> InferRequest:
    """Read an infer request and check it against the model's `inputs` and `outputs`; `raw` may be given in place of all
    of `inputs`.

    Raises:
        RequestError: it names the part, the rule and what was got.
    """
    has_raw = raw is not None and any(tensor.name == raw.name for tensor in message.inputs)
    given = GivenInputs((raw,) if raw is not None and has_raw else inputs)
    for tensor, buffer in zip(message.inputs, _buffers(message), strict=True):
        spec, shape = given.expect(tensor.name, tensor.datatype, list(tensor.shape))
        given.add(spec.name, from_binary(spec.name, spec.datatype, shape, memoryview(buffer)))
    wanted = [
        {"name": each.name, "parameters": from_protobuf(each.parameters) | {"binary_data": True}}
        for each in message.outputs
    ]
    names, binary, classes = asked_outputs(wanted, outputs, all_binary=True)
    return InferRequest(
        id=message.id or None,
        inputs=given.all(),
        outputs=names,
        binary=binary,
        classes=classes,
        parameters=from_protobuf(message.parameters),
    )


def encode(
    model: str,
    version: str,
    request: InferRequest,
    outputs: Mapping[str, Array],
    types: Mapping[str, str],
    labels: Sequence[str] | None = None,
) -> oip.ModelInferResponse:
    """The response to `request`; `types` gives each output's datatype, `labels` the names of the classes.

    Raises:
        RequestError: an output cannot be given in the form asked for.
    """
    response = oip.ModelInferResponse(model_name=model, model_version=version, id=request.id or "")
    for name, datatype, array in asked(request, outputs, types, labels):
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(to_binary(array))
    return response


def _buffers(message: oip.ModelInferRequest) -> Sequence[bytes]:
    """Each input's elements as bytes."""
    raw = message.raw_input_contents
    if not raw:
        return [_contents(tensor) for tensor in message.inputs]
    both = [tensor.name for tensor in message.inputs if tensor.HasField("contents")]
    if both:  # in Triton's words, which its example clients look for
        rule = "contents field must not be specified when using raw_input_contents"
        raise RequestError(f"{rule} for {both[0]!r} for model {message.model_name!r}")
    if len(raw) != len(message.inputs):
        raise RequestError(
            f"raw_input_contents must have one entry for each of the {len(message.inputs)} inputs, got {len(raw)}"
        )
    return raw


def _contents(tensor: oip.ModelInferRequest.InferInputTensor) -> bytes:
    name, datatype = tensor.name, tensor.datatype
    given = [field.name for field, _ in tensor.contents.ListFields()]
    field = _CONTENTS.get(datatype)
    if given and field is None:
        raise RequestError(f"input {name!r}: {datatype} is sent in raw_input_contents, got {given[0]}")
    if field is None or not given:
        return b""  # no elements, or a datatype that is refused by its name
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
