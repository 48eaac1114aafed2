"""The other hosts of a cluster, by ssh from its head: what is wrong with one, and a command for all.

`ray up` leaves on the head what it takes to log in to the workers, which is how Ray starts them.
"""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deployments.errors import SettingsError
from deployments.hosts.ssh import HostError, Run, by_ssh

BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""`cluster.yaml` as Ray puts it on the head."""
MOST_SKEW_S = 5.0
"""Clocks that differ by more give telemetry, keys that expire and TLS a wrong time."""
_LOOK = """
python=${TRIMTAB_PYTHON:-python3}; command -v $python >/dev/null || python=none
[ $python = none ] && echo none || $python -c 'import sys; print("%d.%d" % sys.version_info[:2])'
df -Pk ~ | awk 'NR == 2 {print $4}'
date +%s.%N
"""
_LEAST_FREE_KIB = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Who belongs to it, and how the head logs in to the workers."""

    head: str
    workers: tuple[str, ...]
    user: str
    run: Run = field(compare=False)
    """On one of the workers."""


def described(file: Path = BOOTSTRAP) -> Cluster | None:
    """The cluster of which this host is the head, if Ray has put it here.

    Raises:
        SettingsError: the file is not one of hosts by address.
    """
    path = file.expanduser()
    if not path.exists():
        return None
    config: Mapping[str, Any] = yaml.safe_load(path.read_text())
    provider, auth = config.get("provider") or {}, config.get("auth") or {}
    if not provider.get("head_ip"):  # a cloud's own: its provider ends the machines
        return None
    if not isinstance(provider.get("worker_ips"), list):
        raise SettingsError(f"{path}: provider.worker_ips must be a list, got {provider.get('worker_ips')!r}")
    return Cluster(
        head=provider["head_ip"], workers=tuple(provider["worker_ips"]), user=auth["ssh_user"], run=by_ssh(config)
    )


def trouble(cluster: Cluster, hosts: Iterable[str], python: str) -> dict[str, str]:
    """What keeps each of `hosts` from joining, as far as that can be seen; the head has `python`, such as "3.11"."""
    return {host: why for host, why in _on_each(hosts, lambda host: _trouble(cluster, host, python)) if why}


def call_all(cluster: Cluster, command: str, timeout_s: float) -> dict[str, str]:
    """Let every worker run `command`; why it failed, where it did."""
    return {
        host: why
        for host, why in _on_each(cluster.workers, lambda host: _failed(cluster, host, command, timeout_s))
        if why
    }


def _on_each(hosts: Iterable[str], call: Any) -> list[tuple[str, str | None]]:
    known = list(hosts)
    with ThreadPoolExecutor(max_workers=32) as pool:
        return list(zip(known, pool.map(call, known), strict=True))


def _trouble(cluster: Cluster, host: str, python: str) -> str | None:
    before = time.time()
    try:
        told = cluster.run(host, _LOOK)
    except HostError as error:
        return f"it must answer by ssh to {cluster.user}, got: {error}"
    after = time.time()
    lines = told.split()
    if len(lines) != 3:
        return f"it must say what it is by ssh, got: {told.strip()[-300:]}"
    return judged(lines[0], int(lines[1]), float(lines[2]), python=python, asked_s=before, told_s=after)


def judged(found: str, free_kib: int, clock_s: float, *, python: str, asked_s: float, told_s: float) -> str | None:
    """What is wrong with a host that has Python `found` and so much free disk, and whose clock said `clock_s`."""
    if found != python:
        got = "none" if found == "none" else found
        return f"Python must be {python}, as on the head, got {got}: install it, or name it in TRIMTAB_PYTHON"
    if free_kib < _LEAST_FREE_KIB:
        return f"{_LEAST_FREE_KIB // 1024} MiB must be free on the disk of its home, got {free_kib // 1024}"
    skew_s = max(asked_s - clock_s, clock_s - told_s, 0.0)
    if skew_s > MOST_SKEW_S:
        return (
            f"its clock must agree with the head's within {MOST_SKEW_S:g} s, got {skew_s:.0f} s apart: start NTP there"
        )
    return None


def _failed(cluster: Cluster, host: str, command: str, timeout_s: float) -> str | None:
    try:
        cluster.run(host, command, timeout_s)
    except HostError as error:
        return str(error)
    return None
