"""Who may send, and how much: TLS, tokens, memory, bombs, by HTTP and by gRPC; the others go on."""

import gzip
import socket
import ssl
import time
import zlib
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import grpc
import httpx
import pytest
import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub

from telemetry.errors import ConfigurationError
from telemetry.receivers.compression import decompressed
from telemetry.receivers.errors import BusyError, RequestError
from telemetry.receivers.memory import Held, MemoryLimit
from telemetry.receivers.tokens import Tokens
from tests.telemetry.running import running
from tests.telemetry.series.remembering import Remembering
from tests.telemetry.traffic import Sender

PROTOBUF = {"content-type": "application/x-protobuf"}
TOKEN = "a-token-of-some-length"
LIMIT = 200_000


def request(service="digits"):
    return Sender(service=service).request({}, time.time())


@pytest.fixture(scope="module")
def collector():
    with running(max_body_bytes=LIMIT) as it:
        yield it


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    path.write_text(f"# the replicas'\n{TOKEN}\n")
    with running(receivers={"tokens": path}) as it:
        yield it


COMPRESSED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "two gzip members": lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:]),
    "bare deflate": lambda body: zlib.compress(body, wbits=-15),
    "zstd of unknown size": lambda body: zstandard.ZstdCompressor(write_content_size=False).compress(body),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_http_unfolds_every_encoding(collector, name):
    encoding = next(each for each in ("gzip", "deflate", "zstd") if each in name)
    body = COMPRESSED[name](request(name).SerializeToString())
    answer = httpx.post(f"{collector.http}/v1/metrics", content=body, headers=PROTOBUF | {"content-encoding": encoding})
    assert (answer.status_code, answer.content) == (200, b"")
    assert name in collector.collector.services


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("size", [10**7, 10**8])
def test_a_bomb_is_noticed_before_it_unfolds_and_the_memory_is_given_back(name, size):
    encoding = next(each for each in ("gzip", "deflate", "zstd") if each in name)
    limit = MemoryLimit(2**20)
    with pytest.raises(RequestError, match=r"must not exceed 200000 bytes|must not hold more"), Held(limit) as held:
        decompressed(COMPRESSED[name](bytes(size)), encoding, LIMIT, held)
    assert limit.num_bytes == 0


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["gzip", "deflate", "zstd"]), st.binary(max_size=300), st.integers(0, 400), st.binary(max_size=3)
)
def test_a_compressed_body_is_read_in_full_or_refused(name, body, cut, noise):
    limit = MemoryLimit(2**22)
    whole = COMPRESSED[name](body)
    changed = whole[:cut] + noise + whole[cut + len(noise) :]
    with Held(limit) as held:
        assert decompressed(whole, name, 1000, held) == body
        try:
            assert len(decompressed(changed[:-1] if cut % 2 else changed, name, 1000, held)) <= 1000
        except RequestError as error:
            assert error.http in (400, 413)
    assert limit.num_bytes == 0


@pytest.mark.parametrize("given", ["", "Bearer wrong-token-of-some-length", f"Basic {TOKEN}", TOKEN, "Bearer"])
def test_without_a_token_nobody_may_send_and_the_body_is_not_read(guarded, given):
    headers = PROTOBUF | ({"authorization": given} if given else {})
    answer = httpx.post(f"{guarded.http}/v1/metrics", content=b"\xff no protobuf", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    metadata = (("authorization", given),) if given else ()
    with grpc.insecure_channel(guarded.grpc.removeprefix("http://")) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            MetricsServiceStub(channel).Export(request(), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [("/v1/metrics", "text/plain", 415), ("/v1/nothing", "application/x-protobuf", 404)],
)
def test_a_refused_sender_has_its_answer_though_its_body_is_long_and_the_connection_ends(
    collector, path, content_type, status
):
    body = bytes(LIMIT)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    port = int(collector.http.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        for start in range(0, len(body), LIMIT // 8):
            time.sleep(0.02)  # its head alone is enough to refuse it
            connection.sendall(body[start : start + LIMIT // 8])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_with_a_token_one_may_send(guarded):
    bearer = f"Bearer {TOKEN}"
    body = request("with a token").SerializeToString()
    assert httpx.post(
        f"{guarded.http}/v1/metrics", content=body, headers=PROTOBUF | {"authorization": bearer}
    ).is_success
    with grpc.insecure_channel(guarded.grpc.removeprefix("http://")) as channel:
        MetricsServiceStub(channel).Export(request("by grpc"), metadata=(("authorization", bearer),))
    assert {"with a token", "by grpc"} <= guarded.collector.services.keys()


@pytest.mark.parametrize("text", ["", "# nobody\n", "short\n"])
def test_a_file_of_tokens_that_lets_nobody_or_everybody_in_is_refused(tmp_path, text):
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(ConfigurationError, match="tokens: "):
        Tokens(tmp_path / "tokens")


def test_without_memory_a_sender_is_asked_to_come_again(collector):
    memory = collector.collector.intake.memory
    held = Held(memory)
    held.reserve(memory.max_bytes - 10)
    try:
        body = request("busy").SerializeToString()
        answer = httpx.post(f"{collector.http}/v1/metrics", content=body, headers=PROTOBUF)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        channel = grpc.insecure_channel(collector.grpc.removeprefix("http://"))
        with channel, pytest.raises(grpc.RpcError) as caught:
            MetricsServiceStub(channel).Export(request("busy"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        trailers = dict(caught.value.trailing_metadata())
        (detail,) = status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details
        retry = error_details_pb2.RetryInfo()
        assert detail.Unpack(retry)
        assert retry.retry_delay.seconds == BusyError.retry_s
    finally:
        held.release(memory.max_bytes - 10)
    assert httpx.post(f"{collector.http}/v1/metrics", content=body, headers=PROTOBUF).is_success
    assert memory.num_bytes == 0


def test_a_body_that_announces_a_gigabyte_is_refused_unread(collector):
    host, port = collector.http.removeprefix("http://").split(":")
    head = f"POST /v1/metrics HTTP/1.1\r\nhost: {host}\r\ncontent-type: {PROTOBUF['content-type']}\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}content-length: {10**9}\r\n\r\n".encode() + b"some")
        said = ""
        while "1000000000" not in said and (part := connection.recv(4096)):  # headers and body may come apart
            said += part.decode("latin-1")
    assert said.startswith("HTTP/1.1 413")
    assert f"must not exceed {LIMIT} bytes, got 1000000000" in said


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
@example(b"st%\x00\x00\x00\x00", 0, 0)  # an unknown group
def test_no_bytes_break_the_series(noise, at, byte):
    store, sound = Remembering(), request().SerializeToString()
    store.ingest(sound, time.time())
    for body in (noise, sound[:at] + bytes([byte]) + sound[at + 1 :], sound[:at] + noise + sound[at:], sound[:at]):
        try:
            store.ingest(body, time.time())
        except DecodeError:
            continue
        store.settle()
    assert store.ingest(sound, time.time()).num_refused == 0


@pytest.mark.parametrize("time_ns", [2**63, 2**64 - 2**62, 2**64 - 1])
def test_times_that_no_clock_can_tell_count_as_now(time_ns):
    store, wrong = Remembering(), request()
    for metric in wrong.resource_metrics[0].scope_metrics[0].metrics:
        for point in (*metric.gauge.data_points, *metric.sum.data_points, *metric.histogram.data_points):
            point.time_unix_nano = time_ns
    store.ingest(request().SerializeToString(), time.time())
    assert store.ingest(wrong.SerializeToString(), time.time()).num_refused == 0
    store.settle()
    assert store.ingest(request().SerializeToString(), time.time()).num_refused == 0
    store.settle()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate of 127.0.0.1 that its own key has signed, and that key, in one PEM file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "collector")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = tmp_path_factory.mktemp("tls") / "pair.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.mark.parametrize("asks", [False, True], ids=["server", "both"])
def test_tls_encrypts_both_ports_and_asks_for_the_senders_certificate_where_it_is_told_to(pair, asks):
    given = {"tls_certificate": pair} | ({"tls_client_ca": pair} if asks else {})
    pem = pair.read_bytes()
    trusting, known = ssl.create_default_context(cafile=str(pair)), ssl.create_default_context(cafile=str(pair))
    known.load_cert_chain(pair)
    body = request("encrypted").SerializeToString()
    with running(receivers=given) as it:
        https = it.http.replace("http:", "https:") + "/v1/metrics"
        assert httpx.post(https, content=body, headers=PROTOBUF, verify=known).is_success
        credentials = grpc.ssl_channel_credentials(pem, *((pem, pem) if asks else ()))
        with grpc.secure_channel(it.grpc.removeprefix("http://"), credentials) as channel:
            MetricsServiceStub(channel).Export(request("encrypted"))
        if asks:
            with pytest.raises(httpx.TransportError):
                httpx.post(https, content=body, headers=PROTOBUF, verify=trusting)
        with pytest.raises(httpx.TransportError):
            httpx.post(it.http + "/v1/metrics", content=body, headers=PROTOBUF)


def test_json_answers_say_what_was_wrong(collector):
    answer = httpx.post(f"{collector.http}/v1/metrics", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "unexpected end of data" in json_format.Parse(answer.text, status_pb2.Status()).message
