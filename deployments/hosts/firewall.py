"""Who reaches this host: the cluster's own network all of it, everybody else the ingress and the ports below 1024.

Ray listens on all addresses, on ports that it chooses itself; SSH is below 1024.
"""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from deployments.errors import SettingsError

TABLE = "inet trimtab"
Network = IPv4Network | IPv6Network
_RULES = """\
table {table}
delete table {table}
table {table} {{
    chain input {{
        type filter hook input priority filter; policy accept;
        ct state established,related accept
        iif lo accept
        {family} saddr {private} accept
        tcp dport {{ {ports} }} accept
        meta l4proto {{ tcp, udp }} th dport 1024-65535 reject
    }}
}}
"""
_END = f"table {TABLE}\ndelete table {TABLE}\n"
_LOADED_S = 30
_MEND = (
    "install the package nftables, let a user who is not root call it by sudo without a password, or leave --private "
    "out and guard all ports but the ingress's in another way"
)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What `cluster.yaml` says of who reaches a host."""

    private: Network
    """In which the cluster's hosts reach each other."""
    open_ports: tuple[int, ...] = ()
    """Of other services of the host, from 1024 up, that everybody is to reach."""


def load(guard: Guard, own: str, ingress: Iterable[int], loaded: Path) -> None:
    """Let everybody outside of the private network, where this host has the address `own`, reach the ports of `ingress`
    and those of `guard` alone from 1024 up; what was loaded before goes.
    The file `loaded` says so, since only root could ask.

    Raises:
        SettingsError: `own` is elsewhere, nft is not there, or the user may not call it.
    """
    if ip_address(own) not in guard.private:
        raise SettingsError(
            f"--private must be the network in which the cluster's hosts reach each other, {own} among them, got "
            f"{guard.private}"
        )
    _nft(rules(guard.private, (*ingress, *guard.open_ports)))
    loaded.touch()


def end(loaded: Path) -> None:
    """Take away what `load` did, if it did.

    Raises:
        SettingsError: nft is not there any more, or the user may not call it.
    """
    if loaded.exists():
        _nft(_END)
        loaded.unlink()


def rules(private: Network, open_ports: Iterable[int]) -> str:
    """What nft is told. It takes all of it or nothing; a table is named first, so that it can be deleted."""
    ports = ", ".join(map(str, sorted(set(open_ports))))
    return _RULES.format(table=TABLE, family="ip" if private.version == 4 else "ip6", private=private, ports=ports)


def _nft(text: str) -> None:
    command = [*(["sudo", "--non-interactive"] if os.geteuid() else []), "nft", "--file", "-"]
    # Where a user who is not root does not look.
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, env=environment, timeout=_LOADED_S, check=False
        )
    except FileNotFoundError as error:
        raise SettingsError(f"--private needs {error.filename} on this host, which is not there: {_MEND}") from error
    if done.returncode:
        told = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise SettingsError(f"--private needs rules that `{' '.join(command)}` loads, which said: {told}; {_MEND}")
