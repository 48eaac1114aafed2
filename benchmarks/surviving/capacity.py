"""Which replicas the ingress sends requests to, as HAProxy itself says."""

import csv
import io
import socket
import time
from pathlib import Path

import psutil

from benchmarks.servers import Server, processes

WITHIN_S = 60.0
_LOOK_EVERY_S = 0.05


def replicas(server: Server, deployment: str) -> list[psutil.Process]:
    """The processes of its replicas; `deployment` is the application's name and the deployment's, with a colon."""
    return [process for process, command in processes(server) if f"ServeReplica:{deployment}" in command]


def listed(server: Server, application: str) -> set[str]:
    """Names of the replicas of `application` that requests are sent to, by HTTP and, where they listen for it, gRPC."""
    found = [_up(server, f"{protocol}-{application}") for protocol in ("http", "grpc")]
    by_http, by_grpc = found
    return by_http & by_grpc if by_grpc else by_http


def seconds_until_full(server: Server, application: str, before: set[str]) -> float:
    """How long it takes, from now, until as many replicas as `before`, one of them new, are sent requests.

    Raises:
        TimeoutError: that does not come.
    """
    began = time.monotonic()
    while time.monotonic() - began < WITHIN_S:
        now = listed(server, application)
        if len(now) == len(before) and now != before:
            return time.monotonic() - began
        time.sleep(_LOOK_EVERY_S)
    raise TimeoutError(
        f"{application!r} must have {len(before)} replicas again within {WITHIN_S:.0f} s, got {len(now)}; "
        f"the log ends:\n{server.log.read_text()[-2000:]}"
    )


def wait_until_listed(server: Server, application: str, number: int) -> set[str]:
    """The replicas that are sent requests, once there are `number`.

    Raises:
        TimeoutError: that does not come.
    """
    deadline = time.monotonic() + WITHIN_S
    while len(found := listed(server, application)) != number:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{application!r} must have {number} replicas within {WITHIN_S:.0f} s, got {len(found)}; "
                f"the log ends:\n{server.log.read_text()[-2000:]}"
            )
        time.sleep(_LOOK_EVERY_S)
    return found


def wait_until_running(server: Server, deployment: str, number: int, without: int | None = None) -> None:
    """Return once so many processes of its replicas are there, none of them of the id `without`.

    Raises:
        TimeoutError: that does not come.
    """
    deadline = time.monotonic() + 2 * WITHIN_S
    while time.monotonic() < deadline:
        found = [process.pid for process in replicas(server, deployment)]
        if len(found) == number and without not in found:
            return
        time.sleep(_LOOK_EVERY_S)
    raise TimeoutError(
        f"{deployment!r} must have {number} replicas, got {len(found)}; the log ends:\n{server.log.read_text()[-2000:]}"
    )


def _up(server: Server, backend: str) -> set[str]:
    rows = csv.DictReader(io.StringIO(_said(server, "show stat").removeprefix("# ")))
    return {
        row["svname"]
        for row in rows
        if row["pxname"] == backend
        and row["svname"].startswith("SERVE_REPLICA")
        and row["status"].startswith(("UP", "no check"))
    }


def _said(server: Server, command: str) -> str:
    """What HAProxy answers; nothing while it is being replaced."""
    configs = {word for _, line in processes(server) for word in line.split() if word.endswith("haproxy.cfg")}
    if not configs:
        return ""
    admin = Path(min(configs)).with_name("admin.sock")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(admin))
            connection.sendall(f"{command}\n".encode())
            parts = iter(lambda: connection.recv(65536), b"")
            return b"".join(parts).decode()
        except OSError:
            return ""
