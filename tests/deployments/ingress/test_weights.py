"""Replicas on slower nodes get fewer requests at a time."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer

from tests.deployments.ingress.proxied import Echo, ask, haproxy, served

NUM_CLIENTS = 20


class OnNode(ThreadingHTTPServer):
    """A replica on a node of its own: each address of 127.0.0.0/8 is one, and none but its speed differs."""

    def __init__(self, host, speed, all_there):
        super().__init__((host, 0), Busy)
        self.speed = speed
        self.all_there = all_there
        self.asked = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Busy(Echo):
    """It tells its speed, and keeps each request until all clients' are under way somewhere."""

    def do_GET(self):  # noqa: N802 - of http.server
        if self.path == "/-/speed":
            told = str(self.server.speed).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)
        elif self.path.startswith("/-/"):
            super().do_GET()
        else:
            self.server.asked.append(self.path)
            self.server.all_there.wait(30)
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
    all_there = threading.Barrier(NUM_CLIENTS)
    nodes = {
        "SERVE_REPLICA_fast": OnNode("127.0.0.1", 900.0, all_there),
        "SERVE_REPLICA_alike": OnNode("127.0.0.2", 800.0, all_there),
        "SERVE_REPLICA_slow": OnNode("127.0.0.3", 300.0, all_there),
        "SERVE_REPLICA_disturbed": OnNode("127.0.0.1", 100.0, all_there),
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
        return ask(HTTPConnection("127.0.0.1", ingress.cfg.http_options.port, timeout=40))[0].status

    def check():
        deadline = time.monotonic() + 10
        while (found := weights(ingress)) != {
            (backend, f"SERVE_REPLICA_{name}"): weight
            for backend in ("http-m", "grpc-m")
            for name, weight in expected.items()
        }:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        for node in nodes.values():
            node.asked.clear()
        with ThreadPoolExecutor(NUM_CLIENTS) as clients:
            assert set(clients.map(lambda _: ask_once(), range(NUM_CLIENTS))) == {200}
        at_once = {name.removeprefix("SERVE_REPLICA_"): len(node.asked) for name, node in nodes.items()}
        assert at_once["slow"] <= 3 <= 5 <= min(at_once[name] for name in ("fast", "alike", "disturbed")), at_once

    try:
        served(ingress, check)
    finally:
        for node in nodes.values():
            node.shutdown()
            node.server_close()
