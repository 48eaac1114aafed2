"""Ray on one host of a cluster, as `cluster.yaml` starts it and `ray down` ends it.

start  what runs already stays as it is; on the head, `serve_config.yaml` is deployed and the other hosts waited for
drain  replicas that stand here are replaced elsewhere, requests under way are answered, then Ray ends here
stop   Ray and the ingress end here; on the head, if so told, on all hosts
"""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from deployments.errors import SettingsError
from deployments.hosts import environment, firewall, reach
from deployments.hosts.ssh import HostError
from deployments.launch import banner, preflight
from deployments.launch.serve import end_ingress
from optimization.artifact.store import ArtifactError

PORT = 6379
CONFIG = Path("serve_config.yaml")
JOIN_S = 90.0
READY_S = 180.0
DRAIN_S = 120.0
_LOOK_EVERY_S = 1.0
_ATTEMPTS = 3
"""Ray's node ends itself where its agents take more than 15 s to start, as on a host that is busy."""
_FIREWALL = environment.SCRATCH / "firewall"
"""There while its rules are loaded."""
_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_SERVE = [sys.executable, "-m", "ray.serve.scripts"]


def start_head(options: Sequence[str], guard: firewall.Guard | None) -> None:
    """Let this host be the head: Ray, Serve, every application, every other host. `options` are for `ray start`.

    What goes wrong on a head that ran before, or on another host, is printed and no more: after an error of this
    command, `ray down` would no longer know the head, and leave everything running.

    Raises:
        HostError: Ray or Serve does not start; nothing of it goes on.
        SettingsError, ArtifactError: `serve_config.yaml` cannot be served, or the host not guarded, and nothing was
            started.
    """
    cluster = reach.described()
    own = cluster.head if cluster else _own_address("192.0.2.1")
    environment.prepare(os.environ, own, is_head=True)
    ran = _runs(head=True)
    try:
        config = _config()
        preflight.check(config, ports=False)
        _guard(guard, own, config)
        if ran:
            _say(f"Ray runs here already and stays as it is: {CONFIG} is deployed again")
        else:
            _end_ray()
            scaling = [f"--autoscaling-config={reach.BOOTSTRAP.expanduser()}"] if cluster else []
            where = [f"--port={PORT}", f"--node-ip-address={own}", "--dashboard-host=127.0.0.1"]
            _start(["--head", *where, *scaling, *options])
        missing = _wait_for_workers(cluster) if cluster else None
        _deploy(config)  # now that replicas have several hosts to lie on
    except (ArtifactError, HostError, SettingsError) as error:
        if not ran:
            _end_ray()
            raise
        _say(f"ERROR: {error}\nwhat served before goes on")
        return
    if missing:
        _say(f"ERROR: {missing}")
    _wait_until_ready(config)


def start_worker(head: str, options: Sequence[str], guard: firewall.Guard | None) -> None:
    """Let this host join the cluster of `head`.

    Raises:
        HostError: Ray does not start.
        SettingsError: the token or the file of keys is missing, or the host cannot be guarded.
    """
    environment.prepare(os.environ, head, is_head=False)
    own = _own_address(head)
    _guard(guard, own, _config())
    if _runs(head=False) and own in _alive(head):
        _say("Ray runs here already and stays as it is")
        return
    _end_ray()
    _start([f"--address={head}:{PORT}", f"--node-ip-address={own}", *options])


def stop(*, everywhere: bool) -> None:
    """End Ray and its ingress here; `everywhere`, on all hosts, where this is their head.

    Raises:
        HostError: a host could not be reached, or something goes on there.
        SettingsError: the rules of this host's firewall stay.
    """
    cluster = reach.described() if everywhere else None
    _end_ray()  # first here: the head would start workers anew
    firewall.end(_FIREWALL)
    if cluster is None or cluster.head not in _addresses():
        return
    failed = reach.call_all(cluster, "cd ~/trimtab && .venv/bin/python -m deployments node stop", 120)
    if failed:
        told = "; ".join(f"{host}: {why}" for host, why in failed.items())
        raise HostError(f"Ray must be ended on each host by `~/trimtab/bin/ray stop`; these were not reached: {told}")


def drain(head: str, timeout_s: float) -> None:
    """Leave the cluster without a request noticing, then end Ray here.

    Raises:
        HostError: replicas stand here still when the time is up; Ray goes on.
    """
    environment.prepare(os.environ, head, is_head=False)
    from deployments import ray_private

    own = _own_address(head)
    address = f"{head}:{PORT}"
    node = _alive(head).get(own)
    if node is None:
        raise HostError(f"{own} is no node of the cluster of {head}: there is nothing to drain")
    if own == head:
        raise HostError(f"{own} is the head, which holds the server and the collector: drain the other hosts")
    ray_private.drain(address, node, timeout_s)
    deadline = time.monotonic() + timeout_s
    while left := _replicas():
        if time.monotonic() > deadline:
            raise HostError(f"{own} must be without replicas within {timeout_s:g} s, got {', '.join(sorted(left))}")
        time.sleep(_LOOK_EVERY_S)
    _end_ray()


def _config() -> dict[str, Any]:
    try:
        config = yaml.safe_load(CONFIG.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{CONFIG} must be what `serve run` reads: {error}") from error
    if not isinstance(config, dict):
        raise SettingsError(f"{CONFIG} must hold a mapping, got {type(config).__name__}")
    return {**config, "http_options": {**(config.get("http_options") or {}), "host": "0.0.0.0"}}


def _guard(guard: firewall.Guard | None, own: str, config: dict[str, Any]) -> None:
    if guard:
        ingress = (preflight.http_address(config)[1], preflight.grpc_port_of(config))
        firewall.load(guard, own, [port for port in ingress if port is not None], _FIREWALL)


def _start(options: Sequence[str]) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # every client and every replica is a file
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _call([*_RAY, "start", "--disable-usage-stats", *options], "Ray does not start here")
        except HostError as error:
            _end_ray()
            if attempt == _ATTEMPTS:
                raise
            _say(f"{str(error).splitlines()[-1]}: once more")
        else:
            return


def _deploy(config: dict[str, Any]) -> None:
    """Serve and its applications; those that run and are unchanged go on."""
    _, port = preflight.http_address(config)
    options = [f"--http-host={config['http_options']['host']}", f"--http-port={port}", "--proxy-location=EveryNode"]
    grpc_port = preflight.grpc_port_of(config)
    if grpc_port is not None:
        servicers = config["grpc_options"]["grpc_servicer_functions"]
        options += [f"--grpc-port={grpc_port}", *(f"--grpc-servicer-functions={each}" for each in servicers)]
    _call([*_SERVE, "start", *options], "Serve does not start")
    _call([*_SERVE, "deploy", str(CONFIG)], f"{CONFIG} is not deployed; what served before goes on")


def _wait_for_workers(cluster: reach.Cluster) -> str | None:
    """Return once every worker is there, or it is known which are not to come: that, and why."""
    missing = set(cluster.workers) - _alive(cluster.head).keys()
    known = reach.trouble(cluster, sorted(missing), f"{sys.version_info.major}.{sys.version_info.minor}")
    deadline = time.monotonic() + JOIN_S
    while missing - known.keys() and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
        missing = set(cluster.workers) - _alive(cluster.head).keys()
    for host in missing - known.keys():
        known[host] = f"it has not joined within {JOIN_S:g} s: /tmp/ray/session_latest/logs/monitor.out may say why"
    if not known:
        _say(f"{1 + len(cluster.workers)} hosts have joined")
        return None
    told = "\n".join(f"  {host}: {why}" for host, why in sorted(known.items()))
    return f"every worker must join; mend these, and they will within a minute, or call `ray up` again:\n{told}"


def _wait_until_ready(config: dict[str, Any]) -> None:
    """Return when all answers, or the time is up, which is said."""
    certificate = preflight.check_certificate()
    trust = banner.trusting(certificate) if certificate else None
    scheme = "https" if certificate else "http"
    url = f"{scheme}://127.0.0.1:{preflight.http_address(config)[1]}/v2/health/ready"
    deadline = time.monotonic() + READY_S
    while not banner.answers(url, trust):
        if time.monotonic() > deadline:
            _say(f"ERROR: {url} must answer within {READY_S:g} s: `serve status` says what is missing")
            return
        time.sleep(_LOOK_EVERY_S)
    _say("everything is ready")


def _runs(*, head: bool) -> bool:
    """Whether Ray's processes of a node, or of the head, live here."""
    wanted = {"raylet", "gcs_server"} if head else {"raylet"}
    names = {
        p.info["name"] for p in psutil.process_iter(["name", "status"]) if p.info["status"] != psutil.STATUS_ZOMBIE
    }
    return wanted <= names


def _replicas() -> set[str]:
    """Titles of the replicas that live here."""
    titles = {(p.info["cmdline"] or [""])[0] for p in psutil.process_iter(["cmdline"])}
    return {title for title in titles if title.startswith("ray::ServeReplica")}


def _alive(head: str) -> dict[str, str]:
    """The nodes of the cluster of `head`, by address; none where it does not answer."""
    from deployments import ray_private

    return ray_private.alive_nodes(f"{head}:{PORT}")


def _end_ray() -> None:
    """Both of them: Ray's own command leaves HAProxy, which holds its ports."""
    subprocess.run([*_RAY, "stop", "--grace-period", "20"], stdout=subprocess.DEVNULL, check=False)
    end_ingress(str(environment.SCRATCH))


def _own_address(towards: str) -> str:
    """This host's address on the network where `towards` is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, PORT))  # nothing is sent
        address: str = probe.getsockname()[0]
        return address


def _addresses() -> set[str]:
    return {each.address for of_one in psutil.net_if_addrs().values() for each in of_one}


def _call(command: Sequence[str], failed: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise HostError(f"{failed}: {(done.stderr.strip() or done.stdout.strip())[-1500:]}")


def _say(text: str) -> None:
    print(f"trimtab: {socket.gethostname()}: {text}", file=sys.stderr, flush=True)
