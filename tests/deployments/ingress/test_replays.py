"""What HAProxy sends again when a replica ends, and what it does not."""

import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest

from deployments.ingress.haproxy import TemplateError, harden
from deployments.launch.serve import set_environment
from deployments.oip import inference_pb2
from tests.conftest import free_port
from tests.deployments.ingress.proxied import Echo, ask, haproxy, once


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

    def do_POST(self):  # noqa: N802 - of http.server
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self):  # noqa: N802 - of http.server
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

    def do_GET(self):  # noqa: N802 - of http.server
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

    def do_POST(self):  # noqa: N802 - of http.server
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


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_client_that_ends_its_side_before_its_answer_is_no_fault_of_the_server(ingress, size):
    replica = Mortal()
    replica.RequestHandlerClass = SlowToPost

    def check():
        with socket.create_connection(("127.0.0.1", ingress.cfg.http_options.port), timeout=10) as client:
            client.sendall(b"POST /m HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            client.shutdown(socket.SHUT_WR)
            return client.recv(4096).split(b"\r\n")[0]

    with behind(ingress, replica):
        assert once(ingress, check).startswith(b"HTTP/1.1 400 ")


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


def test_a_backend_without_a_limit_to_replays_stops_the_ingress(ingress):
    ingress._generate_config_file_internal()
    config = Path(ingress.config_file_path).read_text().replace("http-reuse always", "http-reuse safe")
    with pytest.raises(TemplateError, match="must have `http-reuse always` in each of 1 backends, got 0"):
        harden(config, None)
