"""`ray up cluster.yaml` on hosts, as a user calls it: the checkout's file with other addresses and artifacts."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployments.commands import key
from tests.hosts.maker import GATEWAY, KEY, NETWORK, Host, HostsError, install_dependencies

WHEEL = "trimtab-0.1.0-py3-none-any.whl"
HTTP_PORT, GRPC_PORT = 8000, 8001
_SOURCE_PORT, _REDIS_PORT = 8899, 6399
_OBJECT_STORE = 200 * 2**20


@dataclass(kw_only=True)
class Cluster:
    """A folder from which `ray up` is called, and the hosts it is called for."""

    folder: Path
    hosts: list[Host]
    key: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """Its cluster.yaml."""
        return self.folder / "cluster.yaml"

    @property
    def head(self) -> Host:
        """The first host."""
        return self.hosts[0]

    def up(self, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        """`ray up`; what it printed."""
        return self._ray("up", "--yes", "--no-config-cache", str(self.file), timeout_s=timeout_s)

    def down(self, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """`ray down`; what it printed."""
        return self._ray("down", "--yes", str(self.file), timeout_s=timeout_s)

    def version(self, host: Host, model: str) -> str | None:
        """Which version of `model` answers at that host, if any; it takes four numbers."""
        features = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
        url = self.url(host, f"/v2/models/{model}/infer")
        try:
            answer = httpx.post(url, json={"inputs": [features]}, headers={"x-api-key": self.key}, timeout=10)
        except httpx.HTTPError:
            return None
        return str(answer.json()["model_version"]) if answer.status_code == 200 else None

    def url(self, host: Host, path: str = "") -> str:
        """Where that host answers."""
        return f"http://{host.address}:{HTTP_PORT}{path}"

    def _ray(self, *words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(self.folder), "RAY_TMPDIR": str(self.folder / "ray")}
        (self.folder / "ray").mkdir(exist_ok=True)
        command = [sys.executable, "-m", "ray.scripts.scripts", *words]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout_s,
        )


def prepared(
    folder: Path,
    hosts: list[Host],
    applications: Sequence[Mapping[str, Any]],
    *,
    environment: Mapping[str, str] | None = None,
) -> Cluster:
    """The files that `cluster.yaml` names, in `folder`; `artifact_source` must serve what `applications` name."""
    for host in hosts:
        if not (host.home / "trimtab" / ".venv").exists():
            install_dependencies(host)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dist").mkdir(exist_ok=True)
    build_wheel(folder / "dist")
    shutil.copy("constraints.txt", folder)
    (folder / "deployments" / "hosts").mkdir(parents=True, exist_ok=True)
    shutil.copy("deployments/hosts/install.sh", folder / "deployments" / "hosts")
    served = yaml.safe_load(Path("serve_config.yaml").read_text())
    _, server, telemetry = served["applications"]
    served["applications"] = [*applications, server, telemetry]
    (folder / "serve_config.yaml").write_text(yaml.safe_dump(served))
    keys_file = folder / "keys.yaml"
    text = key.add(keys_file, "test", models=["*"], admin=True, requests_per_s=None, burst=None, days=None)
    (folder / ".ray").mkdir(exist_ok=True)
    (folder / ".ray" / "auth_token").write_text(os.urandom(32).hex())
    config = yaml.safe_load(Path("cluster.yaml").read_text())
    head, *workers = [host.address for host in hosts]
    config["provider"] |= {"head_ip": head, "worker_ips": workers}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(KEY)}
    config |= {"min_workers": len(workers), "max_workers": len(workers)}
    config["file_mounts"] = {there: here.replace("~", str(folder)) for there, here in config["file_mounts"].items()}
    variables = {"TRIMTAB_ARTIFACTS": f"http://{GATEWAY}:{_SOURCE_PORT}", **(environment or {})}
    exports = " ".join(f"{name}={value}" for name, value in variables.items())
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        (command,) = config[name]
        there = command.replace("TRIMTAB_ARTIFACTS=https://artifacts.example/trimtab", exports)
        there = there.replace("--private 192.0.2.0/24", f"--private {NETWORK}.0/24")
        config[name] = [f"{there} -- --object-store-memory={_OBJECT_STORE} --num-cpus=2"]
    cluster = Cluster(folder=folder, hosts=hosts, key=text)
    cluster.file.write_text(yaml.safe_dump(config))
    return cluster


def build_wheel(into: Path) -> None:
    """The checkout's, from a copy of it: setuptools leaves its folders where it builds."""
    source = into.parent / "source"
    shutil.rmtree(source, ignore_errors=True)
    for package in ("optimization", "deployments", "telemetry"):
        shutil.copytree(package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(file, source / file)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, timeout=120)
    shutil.rmtree(source)


@contextmanager
def artifact_source(folder: Path) -> Iterator[None]:
    """An HTTP server of `folder` that the hosts reach."""
    command = [sys.executable, "-m", "http.server", str(_SOURCE_PORT), "--bind", GATEWAY, "--directory", str(folder)]
    with (folder / "source.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Debian's redis-server, where the hosts reach it; its address."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--bind", GATEWAY, "--port", str(_REDIS_PORT), "--protected-mode", "no", "--dir", str(folder)]
    process = subprocess.Popen(["redis-server", *options, "--appendonly", "yes"], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or listens(GATEWAY, _REDIS_PORT), 20)
        if process.poll() is not None:
            raise HostsError(
                f"redis-server must listen on {GATEWAY}, got exit code {process.returncode}: make hosts first"
            )
        yield f"{GATEWAY}:{_REDIS_PORT}"
    finally:
        process.kill()
        process.wait()


def listens(address: str, port: int) -> bool:
    """Whether a connection to it is taken."""
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


def wait_until(holds: Callable[[], bool], timeout_s: float = 120) -> None:
    """Return once it holds.

    Raises:
        TimeoutError: it did not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it must hold within {timeout_s:g} s")
        time.sleep(0.5)


def application(name: str, num_replicas: int) -> dict[str, Any]:
    """A model in `serve_config.yaml`, by the source of the environment."""
    return {
        "name": name,
        "route_prefix": f"/v2/models/{name}",
        "import_path": "deployments.app:model",
        "args": {"artifact": name, "scaling": {"min_replicas": num_replicas, "max_replicas": num_replicas}},
    }
