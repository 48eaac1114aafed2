"""The ingress in front of one replica, and a certificate for it."""

import subprocess
import threading
from http.server import ThreadingHTTPServer

import pytest

from benchmarks.servers import BIN
from tests.conftest import free_port


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
    from tests.deployments.ingress.proxied import Echo, haproxy  # left out where the platform has none

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
