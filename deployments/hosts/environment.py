"""What the processes of Ray and Serve on a host of a cluster read from their environment."""

import os
import socket
from collections.abc import MutableMapping
from pathlib import Path

from deployments.access.guard import ACCESS
from deployments.errors import SettingsError
from deployments.ingress.log import LOG_TARGET
from deployments.launch.serve import set_environment

LOG_PORT = 5514
SCRATCH = Path(f"/tmp/trimtab-{os.getuid()}")
"""HAProxy's files, which belong to one host even where homes are a network's."""
WITHOUT_HEAD_S = 3600
"""How long a node waits for its head, where a Redis keeps what the head knew."""
REDIS = "RAY_REDIS_ADDRESS"
_REDIS_S = 5.0
COLLECTOR_HOST = "TRIMTAB_HOST"
EVERY_NODE = "TRIMTAB_INGRESS_EVERY_NODE"
"""Whether nodes without a model's replica shall have an ingress too."""


def prepare(environment: MutableMapping[str, str], head: str, *, is_head: bool) -> None:
    """Choose all that `cluster.yaml` does not say: token, ingress, keys, where the ingress logs.

    Raises:
        SettingsError: the host lacks the token or the file of keys, or the head does not reach its Redis.
    """
    defaults = {
        "RAY_AUTH_MODE": "token",
        # An ingress that is about to end answers until the others have looked away.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "10",
        "RAY_raylet_start_wait_time_s": "40",  # a host that is busy starts slowly
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",  # it looks a few times before it starts the workers
        LOG_TARGET: f"{'0.0.0.0' if is_head else head}:{LOG_PORT}",
        COLLECTOR_HOST: "0.0.0.0" if is_head else "127.0.0.1",
        ACCESS: str(Path("keys.yaml").absolute()),
        EVERY_NODE: "1",
    }
    if environment.get(REDIS):
        defaults["RAY_gcs_rpc_server_reconnect_timeout_s"] = str(WITHOUT_HEAD_S)
    for name, value in defaults.items():
        environment.setdefault(name, value)
    # `ray up` asks for the second autoscaler, with which some workers never join where hosts are one's own.
    environment["RAY_enable_autoscaler_v2"] = "0"
    SCRATCH.mkdir(mode=0o700, exist_ok=True)
    set_environment(environment, SCRATCH)
    _check_token(environment)
    _check_keys(environment[ACCESS])
    if is_head and environment.get(REDIS):
        _check_redis(environment[REDIS])


def _check_token(environment: MutableMapping[str, str]) -> None:
    if environment["RAY_AUTH_MODE"] != "token" or environment.get("RAY_AUTH_TOKEN"):
        return
    file = Path(environment.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    if not file.is_file():
        raise SettingsError(
            f"Ray's token must be in {file}, without which whoever reaches this host could run code on it; there is "
            "none: call `ray get-auth-token --generate` where you call `ray up`"
        )
    file.chmod(0o600)


def _check_keys(access: str) -> None:
    if access != "open" and not Path(access).is_file():
        raise SettingsError(
            f"{ACCESS} must be a file of keys, since the network can call; {access} is missing: make it with "
            "`python -m deployments key add <id>` where you call `ray up`"
        )


def _check_redis(address: str) -> None:
    """Ray itself would try for minutes, and then end with a trace of its calls."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REDIS_S).close()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{REDIS} must be host:port of a Redis that this host reaches, got {address}: {error}"
        ) from error
