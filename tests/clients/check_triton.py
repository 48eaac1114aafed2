"""The unmodified tritonclient, HTTP and gRPC alike: what Triton's own example clients do, and every datatype."""

import queue

import grpc as grpcio
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tensors import DATATYPES, example, text

ALL = (*DATATYPES, "BYTES")
FIRST = np.arange(16, dtype=np.int32).reshape(1, 16)
SECOND = np.ones((1, 16), np.int32)


@pytest.fixture(scope="module", params=["http", "grpc"])
def kind(request):
    return {"http": tritonclient.http, "grpc": tritonclient.grpc}[request.param]


@pytest.fixture(scope="module")
def client(kind, http, grpc):
    address = http if kind is tritonclient.http else grpc
    with kind.InferenceServerClient(address) as client:
        yield client


def tensor(kind, name, array, datatype, **options):
    given = kind.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, **options)
    return given


def simple_inputs(kind, first=FIRST, **options):
    return [tensor(kind, "INPUT0", first, "INT32", **options), tensor(kind, "INPUT1", SECOND, "INT32", **options)]


def check_sums(result, first=FIRST):
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), first + SECOND)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), first - SECOND)


def same_inputs(kind, **options):
    return [tensor(kind, f"in_{datatype}", example(datatype), datatype, **options) for datatype in ALL]


def check_same(result, kind):
    for datatype in ALL:
        found = result.as_numpy(f"out_{datatype}")
        if datatype == "BYTES":
            assert text(found) == text(example("BYTES"))
        else:
            assert found.dtype == example(datatype).dtype, datatype
            np.testing.assert_array_equal(found, example(datatype), err_msg=datatype)


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("simple")
    assert client.is_model_ready("simple", "1")
    assert not client.is_model_ready("simple", "99")
    assert not client.is_model_ready("nothing")
    assert "statistics" in str(client.get_server_metadata())
    assert "INPUT1" in str(client.get_model_metadata("simple"))
    assert "max_batch_size" in str(client.get_model_config("simple"))


def test_sums_and_differences(client, kind):
    check_sums(client.infer("simple", simple_inputs(kind)))
    check_sums(client.infer("simple", simple_inputs(kind), model_version="1", request_id="7", timeout=10_000_000))


def test_only_the_outputs_asked_for_are_answered(client, kind):
    result = client.infer("simple", simple_inputs(kind), outputs=[kind.InferRequestedOutput("OUTPUT1")], request_id="a")
    assert result.as_numpy("OUTPUT0") is None
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), FIRST - SECOND)
    response = result.get_response()
    assert (response["id"] if isinstance(response, dict) else response.id) == "a"


def test_every_datatype_comes_back_as_it_was_sent(client, kind):
    check_same(client.infer("same", same_inputs(kind)), kind)


def test_bfloat16_comes_back_as_it_was_sent(client, kind):
    result = client.infer("same_bf16", [tensor(kind, "in_BF16", example("BF16"), "BF16")])
    np.testing.assert_array_equal(result.as_numpy("out_BF16"), example("BF16"))


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_requests_and_responses(client, kind, compression):
    many = np.tile(FIRST, (32, 1))
    inputs = [tensor(kind, name, many, "INT32") for name in ("INPUT0", "INPUT1")]
    if kind is tritonclient.http:
        options = {f"{side}_compression_algorithm": compression for side in ("request", "response")}
    else:
        options = {"compression_algorithm": compression}
    np.testing.assert_array_equal(client.infer("simple", inputs, **options).as_numpy("OUTPUT0"), 2 * many)


def test_many_at_a_time(client, kind):
    answered = queue.Queue()
    firsts = [np.full((1, 16), number, np.int32) for number in range(50)]
    if kind is tritonclient.http:
        for request in [client.async_infer("simple", simple_inputs(kind, first)) for first in firsts]:
            answered.put((request.get_result(), None))
    else:
        for first in firsts:
            client.async_infer(
                "simple", simple_inputs(kind, first), lambda result, error: answered.put((result, error))
            )
    results = [answered.get(timeout=10) for _ in firsts]
    assert [error for _, error in results if error] == []
    assert sorted(result.as_numpy("OUTPUT0")[0, 0] for result, _ in results) == list(range(1, 51))


@pytest.mark.parametrize(
    ("model", "version", "name", "datatype", "said"),
    [
        ("nothing", "", "INPUT0", "INT32", "Request for unknown model: 'nothing' is not served"),
        ("simple", "99", "INPUT0", "INT32", "not '99'"),
        ("simple", "", "WRONG", "INT32", "input names must be 'INPUT0', 'INPUT1', got 'WRONG'"),
        ("simple", "", "INPUT0", "INT16", "datatype must be INT32, got 'INT16'"),
    ],
)
def test_a_wrong_request_is_told_why(client, kind, model, version, name, datatype, said):
    array = FIRST.astype(DATATYPES[datatype])
    inputs = [tensor(kind, name, array, datatype), tensor(kind, "INPUT1", SECOND, "INT32")]
    with pytest.raises(tritonclient.utils.InferenceServerException) as caught:
        client.infer(model, inputs, model_version=version)
    assert said in caught.value.message()


def test_statistics_count_what_was_answered(client, kind):
    def count():
        statistics = client.get_inference_statistics("simple")
        if kind is tritonclient.http:
            return statistics["model_stats"][0]["inference_stats"]["success"]["count"]
        return statistics.model_stats[0].inference_stats.success.count

    before = count()
    client.infer("simple", simple_inputs(kind))
    assert count() == before + 1
    assert "same" in str(client.get_inference_statistics())


def test_a_model_is_unloaded_and_loaded(client, kind):
    def states():
        index = client.get_model_repository_index()
        entries = index if kind is tritonclient.http else index.models
        read = (lambda entry, key: entry[key]) if kind is tritonclient.http else getattr
        return {(read(entry, "name"), read(entry, "version")): read(entry, "state") for entry in entries}

    assert states()["simple", "1"] == "READY"
    client.unload_model("simple")
    assert not client.is_model_ready("simple")
    assert states()["simple", "1"] == "UNAVAILABLE"
    with pytest.raises(tritonclient.utils.InferenceServerException, match="model 'simple' is unloaded"):
        client.infer("simple", simple_inputs(kind))
    client.load_model("simple")
    assert client.is_model_ready("simple")
    check_sums(client.infer("simple", simple_inputs(kind)))
    with pytest.raises(tritonclient.utils.InferenceServerException, match="'nothing' is not served"):
        client.load_model("nothing")


def test_trace_and_log_settings_are_told(client):
    assert "trace_rate" in str(client.get_trace_settings())
    assert "trace_rate" in str(client.get_trace_settings("simple"))
    assert "log_error" in str(client.get_log_settings())
    with pytest.raises(tritonclient.utils.InferenceServerException, match="log_verbose_level stays 0"):
        client.update_log_settings({"log_verbose_level": 1})


def test_json_tensors_over_http(http):
    kind = tritonclient.http
    with kind.InferenceServerClient(http) as client:
        outputs = [kind.InferRequestedOutput(f"OUTPUT{n}", binary_data=False) for n in range(2)]
        check_sums(client.infer("simple", simple_inputs(kind, binary_data=False), outputs=outputs))


@pytest.fixture
def stub(grpc):
    """What the client's stubs are to those who write messages by hand."""
    with grpcio.insecure_channel(grpc) as channel:
        yield tritonclient.grpc.service_pb2_grpc.GRPCInferenceServiceStub(channel)


def typed_request(**changes):
    messages = tritonclient.grpc.service_pb2
    request = messages.ModelInferRequest(model_name="simple", **changes)
    for name, array in (("INPUT0", FIRST), ("INPUT1", SECOND)):
        contents = messages.InferTensorContents(int_contents=array.ravel().tolist())
        request.inputs.add(name=name, datatype="INT32", shape=[1, 16], contents=contents)
    return request


def test_typed_contents_are_read_and_answered_raw(stub):
    response = stub.ModelInfer(typed_request())
    np.testing.assert_array_equal(np.frombuffer(response.raw_output_contents[0], np.int32), (FIRST + SECOND)[0])


def test_typed_contents_beside_raw_ones_are_refused_in_tritons_words(stub):
    """Its example for typed contents passes on these words alone, whatever else is wrong with the request."""
    with pytest.raises(grpcio.RpcError) as caught:
        stub.ModelInfer(typed_request(raw_input_contents=[b"12345678"]))
    said = "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'simple'"
    assert said in caught.value.details()


def test_an_unknown_model_is_refused_in_tritons_words(client, kind):
    """Its example clients look for how the message begins."""
    with pytest.raises(tritonclient.utils.InferenceServerException) as caught:
        client.infer("wrong_model_name", simple_inputs(kind))
    assert caught.value.message().startswith("Request for unknown model")


def test_parameters_of_the_query_change_nothing(http):
    with tritonclient.http.InferenceServerClient(http) as client:
        check_sums(client.infer("simple", simple_inputs(tritonclient.http), query_params={"test_1": 1, "test_2": 2}))


def test_classes_over_http(http):
    kind = tritonclient.http
    with kind.InferenceServerClient(http) as client:
        wanted = [kind.InferRequestedOutput("OUTPUT0", class_count=2)]
        found = client.infer("simple", simple_inputs(kind), outputs=wanted).as_numpy("OUTPUT0")
    assert text(found) == [["16:15", "15:14"]]


@pytest.mark.parametrize("metadata", [None, {"application": "simple"}])
def test_a_stream_answers_in_order_and_outlives_an_error(grpc, metadata):
    kind, answered = tritonclient.grpc, queue.Queue()
    with kind.InferenceServerClient(grpc) as client:
        client.start_stream(lambda result, error: answered.put((result, error)), headers=metadata)
        for number in range(20):
            client.async_stream_infer("simple", simple_inputs(kind), request_id=str(number))
        client.async_stream_infer("nothing", simple_inputs(kind))
        client.async_stream_infer("simple", simple_inputs(kind), request_id="last")
        results = [answered.get(timeout=10) for _ in range(22)]
        client.stop_stream()
    ids = [result.get_response().id for result, error in results if not error]
    assert ids == [*map(str, range(20)), "last"]
    assert results[20][1] is not None
    check_sums(results[0][0])
