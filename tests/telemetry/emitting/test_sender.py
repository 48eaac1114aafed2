"""What becomes of a request, whatever the collector does."""

import gzip
import http.server
import ssl
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc

from telemetry.emitting.endpoint import Endpoint
from telemetry.emitting.sender import MAX_WAIT_S, Outcome, sender_to
from tests.conftest import free_port
from tests.telemetry.emitting import hostile

BODY = metrics.ExportMetricsServiceRequest().SerializeToString()
ANSWER = metrics.ExportMetricsServiceResponse(
    partial_success=metrics.ExportMetricsPartialSuccess(rejected_data_points=2, error_message="no")
)


def by_http(port, **settings):
    return sender_to(
        Endpoint(url=f"http://127.0.0.1:{port}/v1/metrics", protocol="http/protobuf", **settings), "metrics"
    )


def by_grpc(port, **settings):
    return sender_to(Endpoint(url=f"http://127.0.0.1:{port}", **settings), "metrics")


@contextmanager
def grpc_answering(answer, credentials=None):
    """A gRPC collector that hands each call to `answer(request, context)`; its port."""
    from concurrent.futures import ThreadPoolExecutor

    class Service(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request, context):  # noqa: N802 - gRPC's name
            return answer(request, context)

    server = grpc.server(ThreadPoolExecutor(2))
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Service(), server)
    port = (
        server.add_secure_port("localhost:0", credentials) if credentials else server.add_insecure_port("127.0.0.1:0")
    )
    server.start()
    yield port
    server.stop(None)


@contextmanager
def http_collector(trust=None):
    """An HTTP collector that keeps what it is sent; its port and that."""
    kept = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            kept.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            answer = ANSWER.SerializeToString()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if trust is not None:
        server.socket = trust.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], kept
    server.shutdown()
    server.server_close()


def test_http_posts_protobuf_with_the_headers_and_packed_where_that_is_asked():
    with http_collector() as (port, kept):
        sender = by_http(port, headers=(("api-key", "a"),), compression="gzip")
        assert sender.send(BODY + b"\x0a\x00", 5) == Outcome(num_rejected=2)
        assert sender.send(BODY, 5) == Outcome(num_rejected=2)
        sender.close()
    path, headers, body = kept[0]
    assert path == "/v1/metrics"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["api-key"] == "a"
    assert gzip.decompress(body) == BODY + b"\x0a\x00"


def test_grpc_sends_the_headers_and_says_what_was_rejected():
    seen = []

    def answer(_, context):
        seen.append(dict(context.invocation_metadata()))
        return ANSWER

    with grpc_answering(answer) as port:
        sender = by_grpc(port, headers=(("Api-Key", "a"),), compression="gzip")
        assert sender.send(BODY, 5) == Outcome(num_rejected=2)
        sender.close()
    assert seen[0]["api-key"] == "a"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate for localhost with its key in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    import datetime as dt
    import ipaddress

    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_grpc_by_tls_shows_the_clients_certificate_and_checks_the_collectors(certificates):
    certificate, key = certificates
    pair = [(key.read_bytes(), certificate.read_bytes())]
    demanding = grpc.ssl_server_credentials(pair, certificate.read_bytes(), require_client_auth=True)
    settings = {"certificate": str(certificate), "client_key": str(key), "client_certificate": str(certificate)}
    with grpc_answering(lambda *_: ANSWER, demanding) as port:
        url = f"https://localhost:{port}"
        assert sender_to(Endpoint(url=url, **settings), "metrics").send(BODY, 5) == Outcome(num_rejected=2)
        assert sender_to(Endpoint(url=url, certificate=str(certificate)), "metrics").send(BODY, 5).error
        assert sender_to(Endpoint(url=url), "metrics").send(BODY, 5).error == "UNAVAILABLE"


def test_http_by_tls_shows_the_clients_certificate_and_checks_the_collectors(certificates):
    certificate, key = certificates
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(certificate, key)
    trust.load_verify_locations(certificate)
    trust.verify_mode = ssl.CERT_REQUIRED
    with http_collector(trust) as (port, kept):
        url, protocol = f"https://localhost:{port}/v1/metrics", "http/protobuf"
        settings = {"certificate": str(certificate), "client_key": str(key), "client_certificate": str(certificate)}
        sender = sender_to(Endpoint(url=url, protocol=protocol, **settings), "metrics")
        assert sender.send(BODY, 5) == Outcome(num_rejected=2)
        assert sender_to(Endpoint(url=url, protocol=protocol), "metrics").send(BODY, 5).may_retry
    assert len(kept) == 1


@pytest.mark.parametrize("sender", [by_http, by_grpc])
@pytest.mark.parametrize("behaviour", [hostile.silent, hostile.garbage, hostile.endless, hostile.dripping])
def test_a_hostile_collector_is_given_up_in_time(sender, behaviour):
    with hostile.answering(behaviour) as port:
        began = time.monotonic()
        ours = sender(port)
        outcome = ours.send(BODY, 0.3)
        ours.close()
        assert time.monotonic() - began < 3
    assert outcome.error


@pytest.mark.parametrize("sender", [by_http, by_grpc])
def test_a_collector_that_is_not_there_may_be_tried_again(sender):
    outcome = sender(free_port()).send(BODY, 5)
    assert outcome.error in ("UNAVAILABLE", "ConnectionRefusedError")
    assert outcome.may_retry


@pytest.mark.parametrize(
    ("status", "may_retry"),
    [(429, True), (502, True), (503, True), (504, True), (400, False), (500, False), (301, False)],
)
def test_http_is_retried_where_otlp_says_so(status, may_retry):
    with hostile.answering(hostile.refusing(status, "Retry-After: 7")) as port:
        outcome = by_http(port).send(BODY, 5)
    assert outcome == Outcome(error=str(status), may_retry=may_retry, wait_s=7.0)


def test_no_collector_is_left_alone_for_longer_than_a_minute():
    with hostile.answering(hostile.refusing(503, "Retry-After: 99999999999")) as port:
        assert by_http(port).send(BODY, 5).wait_s == MAX_WAIT_S


@pytest.mark.parametrize(
    ("code", "wait_s", "may_retry"),
    [
        (grpc.StatusCode.UNAVAILABLE, None, True),
        (grpc.StatusCode.UNAVAILABLE, 1.5, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, None, False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 1.5, True),
        (grpc.StatusCode.INVALID_ARGUMENT, None, False),
        (grpc.StatusCode.UNAUTHENTICATED, None, False),
        (grpc.StatusCode.DATA_LOSS, None, True),
    ],
)
def test_grpc_is_retried_where_otlp_says_so(code, wait_s, may_retry):
    def answer(_, context):
        if wait_s is not None:
            detail = Any()
            detail.Pack(RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)))
            status = Status(code=code.value[0], details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, "no")

    with grpc_answering(answer) as port:
        outcome = by_grpc(port).send(BODY, 5)
    assert outcome == Outcome(error=code.name, may_retry=may_retry, wait_s=wait_s or 0.0)


def test_an_answer_that_cannot_be_read_is_no_success_and_not_sent_again():
    with hostile.answering(hostile.unreadable) as port:
        assert by_http(port).send(BODY, 5) == Outcome(error="invalid_response")


def test_a_connection_that_the_collector_closed_meanwhile_is_made_anew():
    def once(connection, _):
        connection.recv(65536)
        connection.sendall(hostile.OK + b"Content-Length: 0\r\n\r\n")

    with hostile.answering(once) as port:
        sender = by_http(port)
        assert [sender.send(BODY, 5) for _ in range(3)] == [Outcome()] * 3
