"""Hosts on this machine, each with its own network, processes and /dev/shm, as `shared/testhosts/hosts.sh` makes them.

It needs root. The hosts share the file system; only /tmp/ray is each one's own.
"""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
GCS_PORT = 6379
LOGIN_S = 30.0
CACHE = "/tmp/ray/cache"
"""On each host its own."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """One of them; the first is the head of a Ray cluster of all."""

    address: str
    link: str
    """Our end of its only cable."""

    def received_bytes(self) -> int:
        """What has come to it by the network, whatever of."""
        return self._counted("tx_bytes")

    def sent_bytes(self) -> int:
        """What has left it."""
        return self._counted("rx_bytes")

    def wait_for_login(self) -> None:
        """Return when it lets us in.

        Raises:
            OSError: it does not, for a while.
        """
        deadline = time.monotonic() + LOGIN_S
        while True:
            try:
                socket.create_connection((self.address, 22), timeout=5).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def begin(self, command: list[str]) -> subprocess.Popen[str]:
        """Start a command in this folder, as it would run here; its output is piped."""
        given = {
            "PYTHONPATH": str(Path.cwd()),
            "XDG_CACHE_HOME": CACHE,
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "disabled",  # nobody else is on their network
        }
        words = ["env", *(f"{name}={value}" for name, value in given.items()), *command]
        remote = f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(words)}"
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        login = ["ssh", "-i", "/tmp/testhosts/key", *(f"-o{option}" for option in options), f"root@{self.address}"]
        return subprocess.Popen([*login, remote], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, command: list[str]) -> str:
        """The command's output.

        Raises:
            RuntimeError: it fails.
        """
        process = self.begin(command)
        output, _ = process.communicate(timeout=180)
        if process.returncode:
            raise RuntimeError(f"{shlex.join(command)} failed on {self.address}:\n{output[-3000:]}")
        return output

    def _counted(self, name: str) -> int:
        return int(Path(f"/sys/class/net/{self.link}/statistics/{name}").read_text())


@contextmanager
def cluster(num_hosts: int, cpus: int = 1) -> Iterator[list[Host]]:
    """A Ray cluster of so many hosts.

    Raises:
        RuntimeError: they cannot be made here, or others use them.
    """
    scripts = [folder / "shared/testhosts/hosts.sh" for folder in Path.cwd().parents]
    script = next((each for each in scripts if each.exists()), None)
    if script is None or os.geteuid() != 0:
        raise RuntimeError("hosts need root and shared/testhosts/hosts.sh in a folder above this one")
    if Path("/sys/class/net/tbr0").exists():
        raise RuntimeError("the hosts are up already: end what uses them, and call `hosts.sh down`")
    try:
        subprocess.run(["bash", str(script), "up", str(num_hosts)], check=True, stdout=subprocess.DEVNULL)
        hosts = [Host(address=f"10.77.0.{at}", link=f"vthost{at}") for at in range(1, num_hosts + 1)]
        head = hosts[0].address
        for host in hosts:
            host.wait_for_login()
            joins = ["--head", f"--port={GCS_PORT}"] if host is hosts[0] else [f"--address={head}:{GCS_PORT}"]
            start = [f"--node-ip-address={host.address}", f"--num-cpus={cpus}", "--object-store-memory=300000000"]
            quiet = ["--include-dashboard=false", "--disable-usage-stats"] if host is hosts[0] else []
            host.run([str(BIN / "ray"), "start", *joins, *start, *quiet])
        yield hosts
    finally:
        subprocess.run(["bash", str(script), "down"], check=False, stdout=subprocess.DEVNULL)
