"""What another host reaches of a server for its own machine: every port is tried from a network namespace.

Ray shows its metrics to everyone, whatever the path; nothing else may be answered. It needs root, for the namespace:
`make test ARGS='-m hosts'`.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from benchmarks.servers import processes, trimtab
from tests.conftest import publish_tiny

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root"),
]

HERE, THERE = "198.51.100.1", "198.51.100.2"  # TEST-NET-2: nobody's
SPACE = f"trimtab-{os.getpid()}"

STRANGER = """
import json, sys
import grpc, httpx
from ray.serve.generated.serve_pb2 import ASGIRequest
from deployments.oip import inference_pb2 as oip
from deployments.oip.grpc_service import SERVICE
from deployments.oip.protocol_grpc import REQUESTS

host, *ports = sys.argv[1:]
METADATA = [(), (("application", "tiny"),), (("application", "server"),)]

def said(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"

def calls(channel):
    for rpc, request in REQUESTS.items():
        for metadata in METADATA:
            fields = {field.name for field in request.DESCRIPTOR.fields}
            message = request(**{name: "tiny" for name in ("name", "model_name") if name in fields})
            call = channel.unary_unary(f"/{SERVICE}/{rpc}")
            yield rpc, said(call, message.SerializeToString(), metadata=metadata, timeout=2)
    handle = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
    yield "HandleRequest", said(handle, ASGIRequest().SerializeToString(), timeout=2)

def http(method, path):
    try:
        answer = httpx.request(method, f"http://{host}:{port}{path}", timeout=2)
    except httpx.HTTPError:
        return 0
    is_metrics = answer.headers.get("content-type", "").startswith("text/plain; version=")  # Ray's, at every path
    return 0 if is_metrics else answer.status_code

def is_reached():
    channel = grpc.insecure_channel(f"{host}:{port}")
    try:
        grpc.channel_ready_future(channel).result(2)
        return dict(calls(channel))
    except grpc.FutureTimeoutError:
        return {}
    finally:
        channel.close()

found = {}
for port in ports:
    paths = [("GET", "/v2"), ("POST", "/v2/models/tiny/infer"), ("POST", "/v2/repository/models/tiny/unload"),
             ("GET", "/telemetry"), ("GET", "/-/routes")]
    found[port] = {"http": [http(*path) for path in paths], "grpc": is_reached()}
print(json.dumps(found))
"""


def run(*command: str, **options: object) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=240, **options).stdout


@pytest.fixture
def other_host() -> Iterator[None]:
    """A network namespace that reaches this machine at `HERE`, as a host on its network would."""
    near, far = f"tt{os.getpid()}a", f"tt{os.getpid()}b"
    run("ip", "netns", "add", SPACE)
    try:
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", SPACE)
        run("ip", "addr", "add", f"{HERE}/30", "dev", near)
        run("ip", "link", "set", near, "up")
        run("ip", "-n", SPACE, "addr", "add", f"{THERE}/30", "dev", far)
        run("ip", "-n", SPACE, "link", "set", far, "up")
        yield
    finally:
        run("ip", "netns", "del", SPACE)  # the pair goes with it


def listening(server) -> dict[int, str]:
    """Every TCP port that a process of the server listens on, and which it is; HAProxy may just be starting anew."""
    deadline = time.monotonic() + 20
    while not {server.http_port, server.grpc_port} <= (found := _listening(server)).keys():
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def _listening(server) -> dict[int, str]:
    names = {process.pid: command for process, command in processes(server)}
    names[server.process.pid] = "serve run"
    found = {}
    for line in run("ss", "-ltnpH").splitlines():
        owners = [names[int(pid)] for pid in re.findall(r"pid=(\d+)", line) if int(pid) in names]
        if owners:
            found[int(line.split()[3].rpartition(":")[2])] = owners[0]
    return found


def test_from_another_host_no_port_of_a_server_for_this_machine_answers(tmp_path, other_host):
    with trimtab(publish_tiny(tmp_path)) as server:
        ports = listening(server)
        command = ["ip", "netns", "exec", SPACE, sys.executable, "-c", STRANGER, HERE, *map(str, ports)]
        found = json.loads(run(*command).splitlines()[-1])
    assert len([owner for owner in ports.values() if owner.startswith("ray::ServeReplica")]) >= 9
    answered = {
        f"{port} {ports[int(port)][:50]}": said
        for port, said in found.items()
        if any(status == 200 for status in said["http"]) or "OK" in said["grpc"].values()
    }
    assert answered == {}
    spoken_to = {int(port) for port, said in found.items() if said["grpc"]}
    assert not spoken_to & {9500, *range(40000, 40010)}, "gRPC for clients listens on loopback alone"
