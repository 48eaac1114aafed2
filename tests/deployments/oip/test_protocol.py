"""Requests and responses, held to the Open Inference Protocol's text."""

import gzip
import zlib

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import BodyTooLargeError, RequestError
from deployments.oip.compression import choose_encoding, decompress
from deployments.oip.infer_request import InferRequest
from deployments.oip.requests import HEADER_LENGTH, decode
from deployments.oip.responses import encode
from optimization.artifact.manifest import TensorSpec

INPUTS = (
    TensorSpec(name="a", datatype="FP32", shape=("batch", 2)),
    TensorSpec(name="b", datatype="INT64", shape=("batch",)),
)


def request(**changes):
    body = {
        "id": "7",
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.5]},
            {"name": "b", "datatype": "INT64", "shape": [1], "data": [3]},
        ],
    }
    return body | changes


def with_input(index=0, **changes):
    body = request()
    body["inputs"][index] |= changes
    return body


def read(body, header_length=None):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return decode(raw, header_length, INPUTS, ("y", "z"))


def test_a_json_request_is_read():
    decoded = read(request())
    assert decoded.id == "7"
    np.testing.assert_array_equal(decoded.inputs["a"], np.array([[1.5, 2.5]], np.float32))
    assert decoded.inputs["b"].dtype == np.int64
    assert decoded.outputs == ("y", "z")
    assert decoded.binary == frozenset()


def test_binary_tensors_follow_the_header_in_order():
    header = orjson.dumps(
        {
            "inputs": [
                {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
                {"name": "b", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}},
            ],
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "z"}, {"name": "y", "parameters": {"binary_data": False}}],
        }
    )
    body = header + np.array([1, 2], "<f4").tobytes() + np.array([9], "<i8").tobytes()
    decoded = read(body, str(len(header)))
    assert decoded.inputs["a"].tolist() == [[1, 2]]
    assert decoded.inputs["b"].tolist() == [9]
    assert decoded.outputs == ("z", "y")
    assert decoded.binary == {"z"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "must be a JSON object: "),
        (b"[]", "must be a JSON object, got list"),
        (b'{"inputs": [NaN]}', "must be a JSON object: "),
        ({}, "inputs must be a list"),
        (request(id=3), "id must be a string, got 3"),
        (request(inputs=[]), "missing 'a', 'b'"),
        (request(inputs=[1]), "an input must be an object"),
        (with_input(name="q"), "input names must be 'a', 'b', got 'q'"),
        (with_input(1, name="a"), "given once"),
        (with_input(datatype="FP64"), "must be FP32, got 'FP64'"),
        (with_input(datatype="float"), "must be one of BOOL"),
        (with_input(datatype={"a": "FP32"}), "must be one of BOOL"),
        (with_input(datatype=[]), "must be one of BOOL"),
        (with_input(shape=[1, 3]), r"shape must be \[batch, 2\]"),
        (with_input(shape=[0, 2], data=[]), "any size > 0"),
        (with_input(shape=[2, 2], data=[1, 2, 3, 4]), r"got \[1\]"),
        (with_input(shape="2"), "list of sizes, got '2'"),
        (with_input(shape=[-1, 2]), "list of sizes"),
        (with_input(data=None), "data must be a list, got NoneType"),
        (with_input(data=[1e39, 0]), "must be finite"),
        (with_input(parameters=4), "parameters must be an object, got int"),
        (with_input(parameters={"binary_data_size": 8}), "at most the 0 bytes left, got 8"),
        (request(outputs=[{"name": "q"}]), "output names must be 'y', 'z', got 'q'"),
        (request(outputs=[{"name": "y"}, {"name": "y"}]), "asked for once"),
        (request(outputs=3), "outputs must be a list"),
        (request(outputs=[{"name": "y", "parameters": {"binary_data": "yes"}}]), "binary_data must be true or false"),
        (request(outputs=[{"name": "y", "parameters": {"classification": -1}}]), "a number of classes, got -1"),
        (request(parameters={"binary_data_output": 1}), "binary_data_output must be true or false, got 1"),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(body, said):
    with pytest.raises(RequestError, match=said):
        read(body)


def test_request_parameters_are_kept():
    assert read(request(parameters={"timeout": 5000, "priority": 1})).parameters == {"timeout": 5000, "priority": 1}


@pytest.mark.parametrize("length", ["-1", "x", "99999", "\u0663"])
def test_a_wrong_header_length_is_refused(length):
    with pytest.raises(RequestError, match="Inference-Header-Content-Length"):
        read(request(), length)


def test_bytes_left_over_are_refused():
    header = orjson.dumps(request())
    with pytest.raises(RequestError, match="3 bytes follow"):
        read(header + b"abc", str(len(header)))


def spec(datatype, *shape, name="a"):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


@pytest.mark.parametrize(
    ("inputs", "body", "elements"),
    [
        ([spec("FP32", "batch", 2)], np.arange(6, dtype="<f4").tobytes(), [[0, 1], [2, 3], [4, 5]]),
        ([spec("INT16", 3)], np.arange(3, dtype="<i2").tobytes(), [0, 1, 2]),
        ([spec("BYTES", "batch")], b"\xff\xd8 a picture", [b"\xff\xd8 a picture"]),
        ([spec("BYTES", "batch", 1)], b"", [[b""]]),
    ],
)
def test_a_body_without_json_is_the_one_input(inputs, body, elements):
    """Triton's raw binary request: the size of the body gives the shape, every output is answered as bytes."""
    decoded = decode(body, "0", inputs, ("y",))
    assert decoded.inputs["a"].tolist() == elements
    assert decoded.binary == {"y"}


@pytest.mark.parametrize(
    ("inputs", "body", "said"),
    [
        ([spec("FP32", 1), spec("FP32", 1, name="b")], b"1234", "needs a model of one input, this one has 2"),
        ([spec("FP32", "batch", "length")], bytes(8), "leaves open what 'batch', 'length' of input 'a' are"),
        ([spec("FP32", "batch", 2)], bytes(12), "takes a multiple of 8 bytes, got 12"),
        ([spec("FP32", "batch", 2)], b"", "takes a multiple of 8 bytes, got 0"),
        ([spec("FP32", 2)], bytes(4), "takes 8 bytes, got 4"),
        ([spec("FP32", "batch")], np.array([np.nan], "<f4").tobytes(), "must be finite"),
    ],
)
def test_a_body_without_json_that_leaves_its_shape_open_is_refused(inputs, body, said):
    with pytest.raises(RequestError, match=said):
        decode(body, "0", inputs, ("y",))


def test_an_output_is_answered_as_its_highest_classes():
    """The example of Triton's classification extension, with labels."""
    asked = InferRequest(id=None, inputs={}, outputs=("y",), binary=frozenset(), classes={"y": 2})
    output = np.array([[1.1, 3.3, 0.5, 2.4], [7, 7, 8, 0]], np.float32)
    response = encode("m", "1", asked, {"y": output}, {"y": "FP32"}, labels=["a", "b", "c", "d"])
    (answer,) = orjson.loads(response.body)["outputs"]
    assert (answer["datatype"], answer["shape"]) == ("BYTES", [2, 2])
    assert answer["data"] == ["3.300000:1:b", "2.400000:3:d", "8.000000:2:c", "7.000000:0:a"]


def test_more_classes_than_there_are_is_refused():
    asked = InferRequest(id=None, inputs={}, outputs=("y",), binary=frozenset(), classes={"y": 3})
    with pytest.raises(RequestError, match="output 'y' has 2 classes, classification asks for 3"):
        encode("m", "1", asked, {"y": np.array([1, 2])}, {"y": "INT64"})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_any_json_is_read_or_refused(value):
    for body in (value, {"inputs": value}, {"inputs": [value]}, with_input(data=value), with_input(shape=value)):
        try:
            raw = orjson.dumps(body)
        except TypeError:  # an integer beyond 64 bits is no JSON of orjson's
            continue
        try:
            read(raw)
        except RequestError as error:
            assert str(error)


def test_a_response_answers_as_asked():
    asked = InferRequest(id="7", inputs={}, outputs=("y", "z"), binary=frozenset({"z"}))
    outputs = {"y": np.array([[1.5]], np.float32), "z": np.array([2], np.int64)}
    response = encode("m", "3", asked, outputs, {"y": "FP32", "z": "INT64"})
    length = int(dict(response.headers)[HEADER_LENGTH])
    header, raw = orjson.loads(response.body[:length]), response.body[length:]
    assert (header["model_name"], header["model_version"], header["id"]) == ("m", "3", "7")
    assert header["outputs"][0] == {"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [1.5]}
    assert header["outputs"][1]["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(raw, "<i8").tolist() == [2]


def test_gzip_and_deflate_are_undone():
    assert decompress(gzip.compress(b"abc"), "gzip", 10) == b"abc"
    assert decompress(zlib.compress(b"abc"), "deflate", 10) == b"abc"


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0", None),
        ("GZIP;q=0, *;q=0.1", "deflate"),
        ("*", "gzip"),
        ("identity", None),
        ("br, gzip;q=x", None),
        ("", None),
    ],
)
def test_an_encoding_is_chosen_as_http_wants_it(accepted, chosen):
    """RFC 9110, section 12.5.3."""
    assert choose_encoding(accepted) == chosen


def test_a_small_body_that_unpacks_to_a_huge_one_is_refused():
    bomb = gzip.compress(bytes(10_000_000))
    with pytest.raises(BodyTooLargeError, match="at most 1000 bytes"):
        decompress(bomb, "gzip", 1000)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"abc", "gzip"), (gzip.compress(b"abc")[:-4], "gzip"), (b"", "br")],
    ids=["no gzip", "cut short", "unknown"],
)
def test_a_damaged_or_unknown_encoding_is_refused(body, encoding):
    with pytest.raises(RequestError):
        decompress(body, encoding, 100)
