"""Servers to measure and to test: Trimtab as a user starts it, its peers, each in a process of its own."""

import itertools
import json
import math
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from deployments.ingress.haproxy import TLS_CERT
from optimization.artifact.store import Artifact

BIN = Path(sys.executable).parent
_PORTS = itertools.count(400 * os.getpid())
"""Ports are given in turn, from another one on in each process: none is given again before its server listens, here or
in the tests' other processes."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running `serve run`."""

    process: subprocess.Popen[bytes]
    log: Path
    http_port: int
    grpc_port: int | None = None
    otlp_grpc_port: int | None = None
    otlp_http_port: int | None = None
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"{self.scheme}://127.0.0.1:{self.http_port}"


def processes(server: Server) -> Iterator[tuple[psutil.Process, str]]:
    """The processes below the server that have not ended, each with its command line."""
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            yield process, " ".join(process.cmdline())


def replica(server: Server, model: str) -> psutil.Process:
    """The process of the model's replica."""
    for process, command in processes(server):
        if f"ServeReplica:{model}:Model" in command:
            return process
    raise RuntimeError(f"no replica of {model!r} runs")


def infer_path(artifact: Artifact) -> str:
    """Where the artifact's model answers inference requests."""
    return f"/v2/models/{artifact.manifest.name}/infer"


def request_body(artifact: Artifact) -> bytes:
    """One sample of zeros for every input of the artifact."""
    inputs: list[dict[str, Any]] = []
    for spec in artifact.manifest.inputs:
        shape = [size if isinstance(size, int) else 1 for size in spec.shape]
        data = [0.0] * math.prod(shape)
        inputs.append({"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": data})
    return json.dumps({"inputs": inputs}).encode()


@contextmanager
def trimtab(
    artifact: Artifact,
    *,
    beside: Sequence[Artifact] = (),
    environment: Mapping[str, str] | None = None,
    key: str | None = None,
    certificate: Path | None = None,
    num_cpus: float | None = None,
    **args: Any,
) -> Iterator[Server]:
    """`serve run serve_config.yaml` as a user types it, for one artifact and with ports of its own.

    Those `beside` it are served too and reserve no CPU. Where `environment` asks for keys, `key` must be an
    administrator's. With `certificate`, a PEM file that holds its private key too, the ingress speaks TLS. A replica
    reserves `num_cpus`, where given. `args` are further settings of the model.
    """
    config = yaml.safe_load(Path("serve_config.yaml").read_text())
    port, grpc, http = free_port(), free_port(), free_port()
    config["http_options"]["port"], config["grpc_options"]["port"] = port, free_port()
    model, _, telemetry = config["applications"]
    name = artifact.manifest.name
    model |= {"name": name, "route_prefix": f"/v2/models/{name}"}
    model["args"] |= {
        "artifact": name,
        "artifacts": str(artifact.path.parents[1].absolute()),
        "version": artifact.manifest.version,
        "trace_ratio": 0.0,
        **args,
    }
    if num_cpus is not None:
        model["deployments"] = [{"name": "Model", "ray_actor_options": {"num_cpus": num_cpus}}]
    telemetry["args"] = {"grpc_port": grpc, "http_port": http}
    config["applications"] += [_beside(each) for each in beside]
    changes = {"TRIMTAB_COLLECTOR": f"http://localhost:{grpc}", **(environment or {})}
    if certificate:
        changes[TLS_CERT] = str(certificate)
    scheme, trust = ("https", ssl.create_default_context(cafile=certificate)) if certificate else ("http", None)
    url = f"{scheme}://127.0.0.1:{port}"
    with _serving([str(BIN / "serve")], config, changes) as (process, log):
        wait_until_ready(process, log, f"{url}/v2/health/ready", trust=trust)
        wait_until_ready(process, log, f"{url}/telemetry/api/services", key=key, trust=trust)
        yield Server(
            process=process,
            log=log,
            scheme=scheme,
            http_port=port,
            grpc_port=config["grpc_options"]["port"],
            otlp_grpc_port=grpc,
            otlp_http_port=http,
        )


@contextmanager
def table(
    args: Mapping[str, Any], model: Artifact | None = None, embeddings: Mapping[str, Any] | None = None
) -> Iterator[Server]:
    """`serve run` of one table of embeddings; `args` are its settings. It is up when every row has all its copies, and
    `model` answers, whose inputs `embeddings` come from the table.
    """
    beside = []
    if model is not None:
        beside = [_beside(model)]
        beside[0]["args"]["embeddings"] = dict(embeddings or {})
    with _alone(args["table"], f"/v2/embeddings/{args['table']}", "embeddings", args, beside) as server:
        yield server


@contextmanager
def pipeline(args: Mapping[str, Any]) -> Iterator[Server]:
    """`serve run` of one pipeline; `args` are its settings. It is up when every stage has a replica."""
    name = args.get("pipeline") or args["artifact"]
    with _alone(name, f"/v2/models/{name}", "pipeline", args) as server:
        yield server


@contextmanager
def _alone(
    name: str, route: str, builder: str, args: Mapping[str, Any], beside: Sequence[Mapping[str, Any]] = ()
) -> Iterator[Server]:
    config = yaml.safe_load(Path("serve_config.yaml").read_text())
    port = config["http_options"]["port"] = free_port()
    config["grpc_options"]["port"] = free_port()
    config["applications"] = [
        {"name": name, "route_prefix": route, "import_path": f"deployments.app:{builder}", "args": dict(args)},
        *map(dict, beside),
    ]
    with _serving([str(BIN / "serve")], config, {"TRIMTAB_COLLECTOR": "none"}) as (
        process,
        log,
    ):
        for path in (route, *(each["route_prefix"] for each in beside)):
            wait_until_ready(process, log, f"http://127.0.0.1:{port}{path}/ready")
        yield Server(process=process, log=log, http_port=port, grpc_port=config["grpc_options"]["port"])


def _beside(artifact: Artifact) -> dict[str, Any]:
    name = artifact.manifest.name
    return {
        "name": name,
        "route_prefix": f"/v2/models/{name}",
        "import_path": "deployments.app:model",
        "args": {
            "artifact": name,
            "artifacts": str(artifact.path.parents[1].absolute()),
            "version": artifact.manifest.version,
        },
        "deployments": [{"name": "Model", "ray_actor_options": {"num_cpus": 0}}],
    }


@contextmanager
def plain_ray_serve(artifact: Artifact, body: bytes | None = None) -> Iterator[Server]:
    """Ray Serve as installed, serving the same file; it is up when it answers `body`."""
    port = free_port()
    application = {
        "name": "plain",
        "route_prefix": "/",
        "import_path": "benchmarks.plain_serve:build",
        "args": {"artifact": str(artifact.path.absolute())},
    }
    config = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}
    with _serving([sys.executable, "-m", "ray.serve.scripts"], config, {}) as (process, log):
        wait_until_ready(process, log, f"http://127.0.0.1:{port}/-/healthz")
        wait_until_ready(process, log, f"http://127.0.0.1:{port}/", body or request_body(artifact))
        yield Server(process=process, log=log, http_port=port)


@contextmanager
def _serving(
    command: list[str], config: Mapping[str, Any], environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`command run config`, in a Ray cluster and with a state of its own, until the block ends."""
    with _ended_by_sigterm(), tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "config.yaml", Path(folder) / "log"
        file.write_text(yaml.safe_dump(dict(config)))
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "run", str(file), "--address", "local"],
                env={"XDG_STATE_HOME": str(Path(folder) / "state"), **os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process, log
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(90)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as an error would, and what was started within it too, where it would end Python alone."""
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def wait_until_ready(
    process: subprocess.Popen[bytes],
    log: Path,
    url: str,
    body: bytes | None = None,
    timeout_s: float = 240,
    key: str | None = None,
    kind: str | None = None,
    trust: ssl.SSLContext | None = None,
) -> None:
    """Return when `url` answers with 200, to a GET or to `body` of content type `kind`.

    Raises:
        RuntimeError: the process ended or the time is up; the message holds the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            given = {"X-API-Key": key, "Content-Type": kind}
            request = urllib.request.Request(url, body, {name: value for name, value in given.items() if value})
            with urllib.request.urlopen(request, timeout=5, context=trust):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    raise RuntimeError(f"{url} did not answer; the log ends:\n{log.read_text()[-3000:]}")


def free_port() -> int:
    """A port nobody listens on, of those that neither the kernel gives to connections nor Ray Serve to replicas.

    A port the kernel picks may be some connection's own by the time it is listened on.
    """
    while True:
        port = 20_000 + next(_PORTS) % 10_000
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
