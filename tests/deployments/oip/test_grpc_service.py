"""The gRPC service of a replica: a real gRPC server in front of a real session, asked through protobuf's own codec."""

import asyncio
import struct
from pathlib import Path

import grpc
import numpy as np
import orjson
import pytest
from grpc_tools import protoc

from deployments.access import keys
from deployments.access.audit import AuditLog
from deployments.access.gate import Gate, KeyRing
from deployments.access.guard import CallGuard
from deployments.access.keys import Key
from deployments.batching.admission import Limits
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http import asgi
from deployments.http.model import ModelApp
from deployments.ingress.fast_path import FastPath
from deployments.oip import grpc_service
from deployments.oip import inference_pb2 as oip
from deployments.oip.grpc_service import SERVICE, Service, from_loopback
from deployments.oip.protocol_grpc import CODES, REQUESTS
from deployments.settings import ServerSettings
from telemetry.emitting.emitter import Emitter
from tests.conftest import expected_probabilities

FEATURES = np.array([[1, 2, 3, 4], [0, 0, 1, 0]], dtype=np.float32)
PREFIX = "/v2/models/tiny"


def infer_request(features=FEATURES, **changes):
    tensor = {"name": "features", "datatype": "FP32", "shape": features.shape}
    fields = {"model_name": "tiny", "raw_input_contents": [features.tobytes()]} | changes
    return oip.ModelInferRequest(inputs=[tensor], **fields)


def typed_request(datatype="FP32", **contents):
    tensor = {"name": "features", "datatype": datatype, "shape": FEATURES.shape, "contents": contents}
    return oip.ModelInferRequest(model_name="tiny", inputs=[tensor])


def probabilities(response):
    (output,), (raw,) = response.outputs, response.raw_output_contents
    return np.frombuffer(raw, "<f4").reshape(output.shape)


@pytest.fixture
def ask(tiny_artifact):
    """What a replica answers: the application of the tiny model."""
    emitter = Emitter(service="tiny", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
    session = Session(tiny_artifact, num_threads=1, max_batch_size=8)
    limits = Limits(max_batch_size=8, max_request_samples=64)
    predictor = Predictor(tiny_artifact.manifest, session.run, limits=limits, inline=True, emitter=emitter)
    app = ModelApp(predictor, max_body_bytes=4096, emitter=emitter)

    loops = []

    async def ask(call):
        if asyncio.get_running_loop() not in loops:
            loops.append(asyncio.get_running_loop())
            app.start()
        return await asgi.call(app, call, PREFIX)

    return ask


def served(ask, use, guard=None):
    """What `use` returns, given a channel to a server that answers with `ask` those whom `guard` lets in."""

    async def main():
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Service(ask, guard),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await use(channel)
        finally:
            await server.stop(0)

    return asyncio.run(main())


def call(ask, rpc, request, response, **options):
    return served(ask, lambda channel: method(channel, rpc, response)(request, **options))


def method(channel, rpc, response):
    serialize = lambda message: message if isinstance(message, bytes) else message.SerializeToString()  # noqa: E731
    return channel.unary_unary(f"/{SERVICE}/{rpc}", serialize, response.FromString)


def refusal(ask, request, rpc="ModelInfer"):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        call(ask, rpc, request, oip.ModelInferResponse)
    return caught.value.code(), caught.value.details()


def test_the_stubs_are_what_the_proto_says(tmp_path):
    source = "deployments/oip/inference.proto"
    assert protoc.main(["protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", source]) == 0
    for name in ("inference_pb2.py", "inference_pb2.pyi"):
        generated, committed = (tmp_path / "deployments/oip" / name), f"deployments/oip/{name}"
        assert generated.read_text() == Path(committed).read_text(), "run: make stubs"


def test_every_unary_call_of_the_service_is_served():
    (service,) = oip.DESCRIPTOR.services_by_name.values()
    unary = {rpc.name: rpc.input_type.name for rpc in service.methods if not rpc.client_streaming}
    assert unary == {rpc: message.DESCRIPTOR.name for rpc, message in REQUESTS.items()}


def test_raw_tensors_are_answered_raw(ask):
    response = call(ask, "ModelInfer", infer_request(id="7"), oip.ModelInferResponse)
    assert (response.model_name, response.model_version, response.id) == ("tiny", "1", "7")
    assert response.outputs[0].datatype == "FP32"
    np.testing.assert_allclose(probabilities(response), expected_probabilities(FEATURES), rtol=1e-5)


def test_typed_contents_are_answered_as_raw_ones_are(ask):
    typed = call(ask, "ModelInfer", typed_request(fp32_contents=FEATURES.ravel().tolist()), oip.ModelInferResponse)
    raw = call(ask, "ModelInfer", infer_request(), oip.ModelInferResponse)
    assert typed == raw


def test_an_output_may_be_asked_for_as_classes(ask):
    parameters = {"classification": oip.InferParameter(int64_param=1), "binary_data": oip.InferParameter()}
    wanted = [{"name": "probabilities", "parameters": parameters}]
    response = call(ask, "ModelInfer", infer_request(outputs=wanted), oip.ModelInferResponse)
    (size,) = struct.unpack_from("<I", response.raw_output_contents[0])
    highest = response.raw_output_contents[0][4 : 4 + size].decode()
    value, index, label = highest.split(":")
    expected = expected_probabilities(FEATURES)[0]
    assert (int(index), label) == (expected.argmax(), "abc"[expected.argmax()])
    assert float(value) == pytest.approx(expected.max(), abs=1e-6)


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (b"\xff\xff", "INVALID_ARGUMENT", "must be an inference.ModelInferRequest"),
        (infer_request(model_name=""), "INVALID_ARGUMENT", "name must be given"),
        (infer_request(model_version="9"), "NOT_FOUND", "version '1' ready, not '9'"),
        (infer_request(raw_input_contents=[]), "INVALID_ARGUMENT", "takes 32 bytes, got 0"),
        (infer_request(raw_input_contents=[b"", b""]), "INVALID_ARGUMENT", "each of the 1 inputs, got 2"),
        (infer_request(FEATURES * np.nan), "INVALID_ARGUMENT", "must be finite"),
        (infer_request(np.zeros((65, 4), np.float32)), "INVALID_ARGUMENT", "at most 64, got 65"),
        (infer_request(np.zeros((999, 4), np.float32)), "RESOURCE_EXHAUSTED", "at most 4096 bytes"),
        (typed_request(int_contents=[1]), "INVALID_ARGUMENT", "FP32 is sent in fp32_contents, got int_contents"),
        (typed_request("FP16", fp32_contents=[1]), "INVALID_ARGUMENT", "FP16 is sent in raw_input_contents"),
        (typed_request("INT8", int_contents=[1, 300]), "INVALID_ARGUMENT", "INT8 lies in [-128, 127], got 1 to 300"),
        (typed_request("FLOAT", fp32_contents=[1]), "INVALID_ARGUMENT", "FLOAT is sent in raw_input_contents"),
    ],
)
def test_a_wrong_request_gets_its_code_and_the_words_of_the_rest_call(ask, request_, code, said):
    found, details = refusal(ask, request_)
    assert found.name == code
    assert said in details


def test_a_failing_application_tells_the_client_no_insides():
    async def ask(_):
        return asgi.Answer(status=500, headers=(), body=asgi.error_body("the server's log says why"))

    assert refusal(ask, infer_request()) == (grpc.StatusCode.INTERNAL, "the server's log says why")


def test_an_application_that_breaks_tells_the_client_no_insides():
    async def ask(_):
        raise RuntimeError("secret path /etc")

    assert refusal(ask, infer_request()) == (grpc.StatusCode.INTERNAL, "ModelInfer failed; the server's log says why")


@pytest.mark.parametrize("status", sorted(CODES))
def test_each_status_has_its_code(status):
    async def ask(_):
        return asgi.Answer(status=status, headers=(), body=asgi.error_body("why"))

    assert refusal(ask, infer_request()) == (CODES[status], "why")


def test_metadata_and_readiness_are_those_of_the_rest_calls(ask):
    metadata = call(ask, "ModelMetadata", oip.ModelMetadataRequest(name="tiny"), oip.ModelMetadataResponse)
    assert (metadata.name, list(metadata.versions)) == ("tiny", ["1"])
    assert list(metadata.inputs[0].shape) == [-1, 4]
    for version, ready in (("", True), ("1", True), ("9", False)):
        request = oip.ModelReadyRequest(name="tiny", version=version)
        assert call(ask, "ModelReady", request, oip.ModelReadyResponse).ready is ready


def test_a_streams_answers_come_in_order_and_one_failure_leaves_it_open(ask):
    sent = [infer_request(id=str(number)) for number in range(200)]
    sent[3] = infer_request(id="3", model_version="9")

    async def use(channel):
        rpc = f"/{SERVICE}/ModelStreamInfer"
        stream = channel.stream_stream(
            rpc, oip.ModelInferRequest.SerializeToString, oip.ModelStreamInferResponse.FromString
        )
        return [response async for response in stream(iter(sent))]

    answers = served(ask, use)
    assert [answer.infer_response.id for answer in answers] == [str(number) for number in range(200)]
    assert [number for number, answer in enumerate(answers) if answer.error_message] == [3]
    assert "not '9'" in answers[3].error_message
    assert answers[0].infer_response.parameters["triton_final_response"].bool_param
    np.testing.assert_allclose(probabilities(answers[5].infer_response), expected_probabilities(FEATURES), rtol=1e-5)


def test_metadata_and_deadline_reach_the_application_as_headers():
    heard = []

    async def ask(call):
        heard.append(dict(call.headers))
        return asgi.Answer(status=200, headers=(), body=orjson.dumps({"live": True}))

    metadata = (("x-api-key", "k"), ("accept-encoding", "gzip"), ("inference-header-content-length", "0"))
    call(ask, "ServerLive", oip.ServerLiveRequest(), oip.ServerLiveResponse, metadata=metadata, timeout=5)
    assert heard[0][b"x-api-key"] == b"k"
    assert 4 < float(heard[0][b"x-request-timeout-seconds"]) < 5.5
    assert not heard[0].keys() & {b"accept-encoding", b"inference-header-content-length", b"content-type"}


def test_a_cancelled_call_is_cancelled_in_the_application():
    begun, ended = asyncio.Event(), []

    async def ask(_):
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def use(channel):
        running = method(channel, "ServerLive", oip.ServerLiveResponse)(oip.ServerLiveRequest())
        await begun.wait()
        running.cancel()
        while not ended:
            await asyncio.sleep(0.01)

    served(ask, use)
    assert ended == ["cancelled"]


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("ipv6:%5B::1%5D:5000", ("::1", 5000)),
        ("unix:/run/socket", None),
        (None, None),
    ],
)
def test_the_caller_is_told_by_address(peer, client):
    assert grpc_service._client(peer) == client


@pytest.fixture
def guard(tmp_path):
    """Lets in who has the key "good"; refusals go to the audit log in `tmp_path`."""
    text = keys.new_key("good")
    keys.add(tmp_path / "keys.yaml", Key(id="good", sha256=keys.hash_of(text)))
    gate = Gate(KeyRing(tmp_path / "keys.yaml"), AuditLog(tmp_path / "audit.jsonl"))
    return CallGuard(gate), text


@pytest.mark.parametrize("rpc", ["ModelInfer", "ModelStreamInfer"])
def test_a_call_without_a_key_is_refused_before_its_message_is_read(guard, tmp_path, rpc):
    """The message is never sent: whoever waits for it would wait for ever."""
    guard, _ = guard

    async def ask(_):
        raise AssertionError("it was let in")

    async def use(channel):
        call = channel.stream_stream(f"/{SERVICE}/{rpc}")(metadata=(("x-api-key", "trimtab.good.guessed"),), timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        guard._gate.audit.write()
        return caught.value.code(), caught.value.details()

    assert served(ask, use, guard) == (grpc.StatusCode.UNAUTHENTICATED, "the key is not valid")
    (entry,) = map(orjson.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
    assert (entry["client"], entry["path"], entry["status"]) == ("127.0.0.1", f"/{SERVICE}/{rpc}", 401)


def test_a_call_with_a_key_and_one_that_needs_none_are_let_in(guard):
    guard, text = guard

    async def ask(_):
        return asgi.Answer(status=200, headers=(), body=orjson.dumps({"live": True, "name": "trimtab"}))

    async def use(channel):
        live = await method(channel, "ServerLive", oip.ServerLiveResponse)(oip.ServerLiveRequest())
        metadata = (("authorization", f"Bearer {text}"),)
        call = method(channel, "ServerMetadata", oip.ServerMetadataResponse)
        return live.live, (await call(oip.ServerMetadataRequest(), metadata=metadata)).name

    assert served(ask, use, guard) == (True, "trimtab")


class CallByProxy:
    """A call as Ray's own proxy hands it to a replica, from `client`."""

    def __init__(self, client, **metadata):
        self.client = client
        self.metadata = tuple(metadata.items())
        self.code = self.details = None

    def peer(self):
        return f"ipv4:{self.client}:5000"

    def invocation_metadata(self):
        return self.metadata

    def set_code(self, code):
        self.code = code

    def set_details(self, details):
        self.details = details


def by_proxy(ask, guard, call, body):
    """The code of the answer to a call of `ServerMetadata` that came by Ray's proxy."""

    @grpc_service.with_rpcs
    class Replica:
        def __init__(self):
            grpc_service.open_service(FastPath("/v2", None), ask, guard=guard, max_body_bytes=1)

    asyncio.run(Replica().ServerMetadata(body, call))
    return call.code, call.details


async def metadata_of_the_server(_):
    return asgi.Answer(status=200, headers=(), body=orjson.dumps({"name": "trimtab"}))


def test_rays_own_proxy_is_no_way_round_the_loopback(monkeypatch):
    """It listens beside the ingress, and whoever reaches it calls the replica's methods by name."""
    monkeypatch.setattr(grpc_service, "_opened", [])
    ask = from_loopback(metadata_of_the_server)
    code, details = by_proxy(ask, None, CallByProxy("192.0.2.1"), b"")
    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert "answers its own machine only" in details
    assert by_proxy(ask, None, CallByProxy("127.0.0.1"), b"") == (None, None)


def test_rays_own_proxy_is_no_way_round_the_key_which_comes_before_the_message(guard, monkeypatch):
    monkeypatch.setattr(grpc_service, "_opened", [])
    guard, text = guard
    guard._gate.audit = None
    damaged = b"\xff"
    unknown, known = CallByProxy("192.0.2.1"), CallByProxy("192.0.2.1", **{"x-api-key": text})
    assert by_proxy(metadata_of_the_server, guard, unknown, damaged)[0] == grpc.StatusCode.UNAUTHENTICATED
    assert by_proxy(metadata_of_the_server, guard, known, damaged)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_a_server_reads_as_much_of_a_message_as_its_settings_say(monkeypatch):
    monkeypatch.setattr(grpc_service, "_opened", [])
    assert grpc_service.most_message_bytes() == ServerSettings().max_body_bytes + grpc_service.FRAME_BYTES
    opened = FastPath("/v2", None), metadata_of_the_server
    grpc_service.open_service(*opened, guard=None, max_body_bytes=1000)
    assert grpc_service.most_message_bytes() == 1000 + grpc_service.FRAME_BYTES


@pytest.mark.parametrize(
    ("client", "status"), [(("127.0.0.1", 1), 200), (("::1", 1), 200), (("192.0.2.1", 1), 403), (None, 403)]
)
def test_a_server_for_its_own_machine_answers_no_other(client, status):
    async def ask(_):
        return asgi.Answer(status=200, headers=(), body=b"")

    answer = asyncio.run(from_loopback(ask)(asgi.Call(method="GET", path="/v2", client=client)))
    assert answer.status == status
