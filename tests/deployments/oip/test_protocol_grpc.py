"""The gRPC form against the REST form: every datatype, and whatever bytes a client may send."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.http.asgi import Answer, Call
from deployments.oip import infer_message
from deployments.oip import inference_pb2 as oip
from deployments.oip.infer_request import InferRequest
from deployments.oip.protocol_grpc import REQUESTS, RpcError, to_call, to_message
from deployments.oip.responses import encode
from deployments.oip.tensors import from_binary, to_binary, to_json
from optimization.artifact.manifest import TensorSpec
from tests.deployments.oip.test_tensors import tensors

CONTENTS = {"BOOL": "bool", "FP32": "fp32", "FP64": "fp64", "INT64": "int64", "UINT64": "uint64"} | {
    f"{sign}INT{bits}": f"{sign.lower()}int" for sign in ("", "U") for bits in (8, 16, 32)
}


def specs(datatype, array):
    return [TensorSpec(name="x", datatype=datatype, shape=array.shape)]


def read(message, datatype, array):
    """What is made of a message that comes as a call."""
    call = to_call("ModelInfer", message.SerializeToString(), (), None)
    return infer_message.decode(call.parsed.take(), specs(datatype, array), ("y",))


@given(tensors())
def test_raw_and_typed_contents_are_the_same_tensor(pair):
    datatype, array = pair
    tensor = {"name": "x", "datatype": datatype, "shape": array.shape}
    raw = oip.ModelInferRequest(model_name="m", inputs=[tensor], raw_input_contents=[to_binary(array)])
    decoded = read(raw, datatype, array)
    assert decoded.inputs["x"].dtype == array.dtype
    assert decoded.inputs["x"].tolist() == array.tolist()
    assert decoded.binary == {"y"}
    if datatype in CONTENTS:
        contents = {f"{CONTENTS[datatype]}_contents": array.ravel().tolist()}
        typed = oip.ModelInferRequest(model_name="m", inputs=[{**tensor, "contents": contents}])
        assert read(typed, datatype, array).inputs["x"].tolist() == array.tolist()


@given(tensors())
def test_an_answer_is_the_same_tensor_in_json_in_bytes_and_in_grpc(pair):
    datatype, array = pair
    asked = InferRequest(id="7", inputs={}, outputs=("y",), binary=frozenset())
    json = encode("m", "1", asked, {"y": array}, {"y": datatype})
    message = infer_message.encode("m", "1", asked, {"y": array}, {"y": datatype})
    again = from_binary("y", datatype, array.shape, memoryview(message.raw_output_contents[0]))
    assert (message.id, list(message.outputs[0].shape)) == ("7", list(array.shape))
    assert again.tolist() == array.tolist()
    assert orjson.loads(json.body)["outputs"][0]["data"] == to_json("y", again)


@pytest.mark.parametrize("rpc", sorted(REQUESTS))
@given(st.binary(max_size=60))
def test_any_bytes_are_a_call_or_refused(rpc, body):
    try:
        call = to_call(rpc, body, (), None)
    except RpcError as error:
        assert str(error)
    else:
        assert isinstance(call, Call)
        assert call.path.startswith("/v2")


@given(st.text())
def test_an_error_keeps_its_words(words):
    with pytest.raises(RpcError) as caught:
        to_message("ModelConfig", Answer(status=404, headers=(), body=orjson.dumps({"error": words})))
    assert str(caught.value) == words
