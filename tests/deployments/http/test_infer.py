"""One model asked by REST and by gRPC: the same answers and guards; no message is answered as a fault of ours."""

import asyncio
import pickle
import re

import grpc
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deployments.batching.admission import Limits
from deployments.execution.byte_budget import ByteBudget
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http import asgi
from deployments.http.asgi import Call
from deployments.http.model import ModelApp
from deployments.oip import inference_pb2 as oip
from deployments.oip.protocol_grpc import RpcError, to_call, to_message
from deployments.oip.requests import HEADER_LENGTH
from deployments.oip.tensors import DTYPES, to_binary
from telemetry.emitting.emitter import Emitter
from tests.served import ALL_BUT_BF16, publish_same

MAX_BODY_BYTES = 2**16
FIELDS = {"BOOL": "bool", "FP32": "fp32", "FP64": "fp64", "INT64": "int64", "UINT64": "uint64", "BYTES": "bytes"} | {
    f"{sign}INT{bits}": f"{sign.lower()}int" for sign in ("", "U") for bits in (8, 16, 32)
}


class Asked:
    """A model that gives back what it is given, asked by both protocols."""

    def __init__(self, artifact, budget=None):
        emitter = Emitter(service="m", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
        session = Session(artifact, num_threads=1, max_batch_size=8)
        predictor = Predictor(
            artifact.manifest, session.run, limits=Limits(max_batch_size=8), inline=True, emitter=emitter
        )
        self.prefix = f"/v2/models/{artifact.manifest.name}"
        self.name = artifact.manifest.name
        self.app = ModelApp(predictor, max_body_bytes=MAX_BODY_BYTES, budget=budget, emitter=emitter)

    def ask(self, call):
        async def main():
            self.app.start()
            return await asgi.call(self.app, call, self.prefix)

        return asyncio.run(main())

    def grpc(self, message):
        """The answer's message; an error's code is the exception's."""
        return to_message("ModelInfer", self.ask(to_call("ModelInfer", message.SerializeToString(), (), None)))

    def rest(self, header, buffers):
        """The answer's header and the bytes of its outputs."""
        json = orjson.dumps(header)
        length = (HEADER_LENGTH, str(len(json)).encode())
        path = f"{self.prefix}/infer"
        answer = self.ask(Call(method="POST", path=path, headers=(length,), body=b"".join((json, *buffers))))
        assert answer.status == 200, answer.body
        end = int(dict(answer.headers)[HEADER_LENGTH])
        return orjson.loads(answer.body[:end]), answer.body[end:]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("same")
    return Asked(publish_same(root)), Asked(publish_same(root, ("BF16",), name="same_bf16"))


@pytest.fixture(scope="module")
def typed_model(tmp_path_factory):
    return Asked(publish_same(tmp_path_factory.mktemp("typed"), tuple(FIELDS), name="typed"))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return Asked(publish_same(tmp_path_factory.mktemp("four"), ("FP32", "INT8", "BYTES", "FP16"), name="four"))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return Asked(publish_same(tmp_path_factory.mktemp("one"), ("FP32",), name="one"))


def elements(datatype):
    if datatype == "BYTES":
        return st.text(max_size=5).map(str.encode)
    if datatype == "BF16":
        return st.integers(-100, 100).map(float)
    finite = {"allow_nan": False, "allow_infinity": False} if datatype.startswith("FP") else {}
    return hnp.from_dtype(DTYPES[datatype], **finite)


@st.composite
def tensors(draw, datatypes):
    """Two columns of each datatype."""
    rows = draw(st.integers(1, 4))
    found = {}
    for datatype in datatypes:
        values = draw(st.lists(elements(datatype), min_size=2 * rows, max_size=2 * rows))
        found[datatype] = np.empty((rows, 2), DTYPES[datatype])
        found[datatype].ravel()[:] = values
    return found


def tensor(datatype, array, **more):
    return {"name": f"in_{datatype}", "datatype": datatype, "shape": array.shape, **more}


@settings(max_examples=15)
@given(ordinary=tensors(ALL_BUT_BF16), bf16=tensors(("BF16",)))
def test_every_datatype_is_answered_alike_by_rest_and_grpc(models, ordinary, bf16):
    for model, arrays in zip(models, (ordinary, bf16), strict=True):
        buffers = {datatype: to_binary(array) for datatype, array in arrays.items()}
        entries = [
            tensor(name, array, parameters={"binary_data_size": len(buffers[name])}) for name, array in arrays.items()
        ]
        header, outputs = model.rest(
            {"id": "7", "inputs": entries, "parameters": {"binary_data_output": True}}, buffers.values()
        )
        raw = oip.ModelInferRequest(
            id="7",
            model_name=model.name,
            inputs=[tensor(*pair) for pair in arrays.items()],
            raw_input_contents=buffers.values(),
        )
        answer = model.grpc(raw)
        assert (answer.model_name, answer.model_version, answer.id) == (
            header["model_name"],
            header["model_version"],
            header["id"],
        )
        assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [
            (each["name"], each["datatype"], each["shape"]) for each in header["outputs"]
        ]
        assert b"".join(answer.raw_output_contents) == outputs


@settings(max_examples=15)
@given(arrays=tensors(FIELDS))
def test_typed_contents_are_answered_as_raw_ones(typed_model, arrays):
    inputs = [tensor(*pair) for pair in arrays.items()]
    buffers = [to_binary(array) for array in arrays.values()]
    raw = oip.ModelInferRequest(model_name="typed", inputs=inputs, raw_input_contents=buffers)
    typed = oip.ModelInferRequest(model_name="typed", inputs=inputs)
    for each in typed.inputs:
        getattr(each.contents, f"{FIELDS[each.datatype]}_contents").extend(arrays[each.datatype].ravel().tolist())
    assert typed_model.grpc(typed) == typed_model.grpc(raw)


NUMBERS = st.sampled_from([-(2**31), -1, 0, 1, 2, 300, 2**31 - 1])
SIZES = st.sampled_from([-(2**63), -2, -1, 0, 1, 2, 2**31, 2**62, 2**63 - 1])
PARAMETERS = st.dictionaries(
    st.sampled_from(["timeout", "priority", "binary_data_size", "binary_data", "classification", ""]),
    st.builds(oip.InferParameter, int64_param=NUMBERS)
    | st.builds(oip.InferParameter, string_param=st.text(max_size=3) | st.just("9" * 5000))
    | st.builds(oip.InferParameter, double_param=st.floats())
    | st.builds(oip.InferParameter, bool_param=st.booleans())
    | st.builds(oip.InferParameter, uint64_param=st.integers(0, 2**64 - 1))
    | st.builds(oip.InferParameter),
    max_size=2,
)
CONTENTS = st.builds(
    oip.InferTensorContents,
    int_contents=st.lists(NUMBERS, max_size=4),
    fp32_contents=st.lists(st.floats(width=32), max_size=4),
    bytes_contents=st.lists(st.binary(max_size=3), max_size=4),
)
INPUTS = st.builds(
    oip.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(["in_FP32", "in_INT8", "in_BYTES", "in_FP16", "other", ""]),
    datatype=st.sampled_from([*DTYPES, "FLOAT", ""]),
    shape=st.lists(SIZES, max_size=3) | st.just([1, 2]) | st.just([2, 2]),
    parameters=PARAMETERS,
    contents=st.none() | CONTENTS,
)
OUTPUTS = st.builds(
    oip.ModelInferRequest.InferRequestedOutputTensor,
    name=st.sampled_from(["out_FP32", "out_INT8", "out_BYTES", "out_FP16", "other"]),
    parameters=PARAMETERS,
)


@st.composite
def messages(draw):
    """Requests to a model of four inputs, from right in every part to wrong in all."""
    right = [
        {"name": f"in_{datatype}", "datatype": datatype, "shape": [1, 2]}
        for datatype in ("FP32", "INT8", "BYTES", "FP16")
    ]
    return oip.ModelInferRequest(
        model_name="four",
        inputs=draw(st.just(right) | st.lists(INPUTS, max_size=5)),
        outputs=draw(st.just([]) | st.lists(OUTPUTS, max_size=3)),
        parameters=draw(st.just({}) | PARAMETERS),
        raw_input_contents=draw(
            st.just([bytes(8), bytes(2), bytes(8), bytes(4)]) | st.lists(st.binary(max_size=9), max_size=5)
        ),
    )


@settings(max_examples=100)
@given(message=messages())
def test_any_message_is_answered_or_refused_as_the_clients_fault(four, message):
    try:
        answer = four.grpc(message)
    except RpcError as error:
        timed_out = error.code is grpc.StatusCode.DEADLINE_EXCEEDED and "timeout" in message.parameters
        assert timed_out or error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert str(error)
    else:
        assert len(answer.raw_output_contents) == len(answer.outputs) > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"raw_input_contents": []}, "takes 8 bytes, got 0"),
        ({"raw_input_contents": [bytes(8), bytes(8)]}, "one entry for each of the 1 inputs, got 2"),
        ({"raw_input_contents": [bytes(9)]}, "takes 8 bytes, got 9"),
        ({"raw_input_contents": [], "contents": {"fp32_contents": [1]}}, "takes 8 bytes, got 4"),
        ({"contents": {"fp32_contents": [1, 2]}}, "must not be specified when using raw_input_contents for 'in_FP32'"),
        ({"shape": []}, "shape must be [batch, 2]"),
        ({"shape": [2**62, 2]}, "takes 36893488147419103232 bytes, got 8"),
        ({"shape": [-1, 2]}, "shape must be a list of sizes, got [-1, 2]"),
        ({"shape": [0, 2]}, "shape must be [batch, 2]"),
        ({"datatype": ""}, "datatype must be one of"),
        ({"name": ""}, "input names must be 'in_FP32', got ''"),
        ({"outputs": [{"name": "x"}]}, "output names must be 'out_FP32', got 'x'"),
    ],
)
def test_a_malformed_message_is_told_what_is_wrong(one, changes, said):
    entry = {"name": "in_FP32", "datatype": "FP32", "shape": [1, 2]}
    rest = {"raw_input_contents": [bytes(8)]}
    for name, value in changes.items():
        (rest if name in ("raw_input_contents", "outputs") else entry)[name] = value
    with pytest.raises(RpcError, match=re.escape(said)) as caught:
        one.grpc(oip.ModelInferRequest(model_name="one", inputs=[entry], **rest))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


def zeros(name, rows):
    """A call with so many rows for a model of one FP32 input."""
    entry = {"name": "in_FP32", "datatype": "FP32", "shape": [rows, 2]}
    message = oip.ModelInferRequest(model_name=name, inputs=[entry], raw_input_contents=[bytes(8 * rows)])
    return to_call("ModelInfer", message.SerializeToString(), (), None)


@pytest.mark.parametrize(("rows", "said"), [(2**12, "requests under way hold"), (2**13, "at most 65536 bytes")])
def test_a_message_is_bounded_as_a_body_is(tmp_path, rows, said):
    budget = ByteBudget(2**15)
    model = Asked(publish_same(tmp_path, ("FP32",)), budget)
    with pytest.raises(RpcError, match=said) as caught:
        to_message("ModelInfer", model.ask(zeros("same", rows)))
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(to_message("ModelInfer", model.ask(zeros("same", 4))).raw_output_contents[0]) == 32
    budget.reserve(2**15)  # all of it is free again


def test_a_message_is_let_go_once_its_tensors_are_read(one):
    call = zeros("one", 1)
    one.ask(call)
    assert call.parsed.message is None


def test_a_call_with_a_message_and_its_answer_pass_between_processes(one):
    """As a stream's messages do, which reach a model from the application of all of them."""
    call = pickle.loads(pickle.dumps(zeros("one", 1)))
    answer = pickle.loads(pickle.dumps(one.ask(call)))
    assert to_message("ModelInfer", answer).raw_output_contents == [bytes(8)]
