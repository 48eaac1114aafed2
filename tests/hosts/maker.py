"""Several hosts on one machine: each has its own network, processes, /tmp, /dev/shm, home directory and sshd.

    hosts(3) ─▶ 10.78.0.1 ... 10.78.0.3, on a bridge whose other side, 10.78.0.254, is this machine: their own network
                10.79.0.1 ... 10.79.0.3, on another, 10.79.0.254: where everybody else is

They share the rest of the file system, so that an environment of dependencies made once serves all. It needs root,
openssh-server, iproute2, nftables, rsync and util-linux.
"""

import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/var/tmp/trimtab-hosts")
"""Not below /tmp, of which each host has its own."""
HOME = ROOT / "home"
"""The user's home directory, which on each host is another."""
KEY = ROOT / "key"
NETWORK, BRIDGE = "10.78.0", "trimtab-br"
OUTSIDE, OUTSIDE_BRIDGE = "10.79.0", "trimtab-out"
GATEWAY = f"{NETWORK}.254"
"""This machine, as the hosts see it."""
_NOBODY = "02:00:00:00:00:01"
"""An address that no device has."""
NEEDED = ("ip", "unshare", "nsenter", "sshd", "ssh-keygen", "rsync", "nft")
_SHM = "2g"
_SSHD = """\
Port 22
ListenAddress {address}
HostKey {host_key}
AuthorizedKeysFile {root}/key.pub
StrictModes no
PidFile none
UsePAM no
PermitRootLogin yes
"""
_INSIDE = """\
hostname {name}
mount --bind {folder}/home {home}
mount --bind {folder}/passwd /etc/passwd
{keep}mount --rbind {folder}/tmp /tmp
mount -t tmpfs tmpfs /dev/shm -o size={shm}
exec $(command -v sshd || echo /usr/sbin/sshd) -D -e -f {folder}/sshd_config
"""


class HostsError(Exception):
    """The machine cannot make hosts."""


@dataclass(kw_only=True)
class Host:
    """One of them; it can die, come back, and be cut off."""

    name: str
    number: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """On the hosts' own network."""
        return f"{NETWORK}.{self.number}"

    @property
    def outer_address(self) -> str:
        """Where everybody else reaches it."""
        return f"{OUTSIDE}.{self.number}"

    @property
    def folder(self) -> Path:
        """Where its own directories lie."""
        return ROOT / self.name

    @property
    def home(self) -> Path:
        """Its home directory, seen from outside."""
        return self.folder / "home"

    def start(self) -> None:
        """Boot: nothing runs on it but its sshd."""
        for folder in (self.home, self.folder / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").chmod(0o1777)
        users = Path("/etc/passwd").read_text().splitlines()
        (self.folder / "passwd").write_text("".join(f"{_at_home(line)}\n" for line in users))
        host_key = self.folder / "host_key"
        if not host_key.exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key)
        config = _SSHD.format(address=self.address, host_key=host_key, root=ROOT)
        (self.folder / "sshd_config").write_text(config)
        script = _INSIDE.format(
            name=self.name, folder=self.folder, home=HOME, shm=_SHM, keep=self._keep(Path(sys.prefix))
        )
        spaces = ["--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--mount-proc"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, "unshare", *spaces, "sh", "-euc", script],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        while self.run("true", check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise HostsError(f"{self.name} does not answer: {(self.folder / 'log').read_text()[-500:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """Lose power: every process of it is gone at once."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)  # `unshare --kill-child` takes its first process along, that all
            self.process.wait()

    def cut_off_from(self, other: "Host") -> None:
        """Nothing goes between the two any more, unnoticed; each reaches all others."""
        for here, there in ((self, other), (other, self)):
            to_nobody = ("lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")
            _run("ip", "-n", here.name, "neigh", "replace", there.address, *to_nobody)

    def reconnect_to(self, other: "Host") -> None:
        """End that."""
        for here, there in ((self, other), (other, self)):
            _run("ip", "-n", here.name, "neigh", "del", there.address, "dev", "eth0")

    def run(self, command: str, *, check: bool = True, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """What a login shell of the host makes of `command`."""
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        where = ["-o", "ConnectTimeout=5", "-o", "BatchMode=yes", "-i", str(KEY), f"root@{self.address}"]
        shell = f"bash --login -c {shlex.quote(command)}"
        return subprocess.run(
            ["ssh", *options, *where, shell], check=check, capture_output=True, text=True, timeout=timeout_s
        )

    def _keep(self, environment: Path) -> str:
        """The line that leaves `environment` where it is, though it lie below /tmp."""
        if not environment.is_relative_to("/tmp"):
            return ""
        there = self.folder / environment.relative_to("/")
        there.mkdir(parents=True, exist_ok=True)
        return f"mount --bind {environment} {there}\n"

    def processes(self) -> list[str]:
        """Command lines of all that runs on it, but for its sshd and who asks."""
        listed = self.run("ps -eo pid=,args=").stdout.splitlines()
        ours = ("sshd", "ps -eo", "bash --login -c", "sh -euc")
        lines = [line.strip().partition(" ")[2].strip() for line in listed]
        return [line for line in lines if line and not line.removeprefix("-").startswith(ours)]

    def listening(self) -> dict[int, str]:
        """TCP ports that a process of it listens on for other hosts, with the addresses."""
        lines = _run("ip", "netns", "exec", self.name, "ss", "-ltnH").splitlines()
        found = [line.split()[3].rpartition(":")[::2] for line in lines]
        return {int(port): host for host, port in found if not host.startswith(("127.", "[::1]"))}


@contextmanager
def hosts(number: int) -> Iterator[list[Host]]:
    """`number` hosts that have booted; all of them are gone afterwards, by SIGTERM as well.

    Raises:
        HostsError: this machine lacks what they need, or has some already.
    """
    _check()
    ROOT.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        undo.callback(signal.signal, signal.SIGTERM, before)
        lock = undo.enter_context((ROOT / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HostsError("another command has made hosts on this machine: wait until it ends") from error
        if not KEY.exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY)
        HOME.mkdir(exist_ok=True)
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        _remove_network(number)
        undo.callback(_remove_network, number)
        for bridge, network in ((BRIDGE, NETWORK), (OUTSIDE_BRIDGE, OUTSIDE)):
            _run("ip", "link", "add", bridge, "type", "bridge")
            _run("ip", "addr", "add", f"{network}.254/24", "dev", bridge)
            _run("ip", "link", "set", bridge, "up")
        made = [Host(name=f"trimtab{i}", number=i) for i in range(1, number + 1)]
        for host in made:
            shutil.rmtree(host.folder, ignore_errors=True)
            undo.callback(shutil.rmtree, host.folder, ignore_errors=True)
            _connect(host)
            undo.callback(host.kill)
            host.start()
        yield made


def install_dependencies(host: Host) -> None:
    """What takes minutes to download is there already: an environment with all that Trimtab needs, but for Trimtab."""
    ready = ROOT / "environment"
    if not (ready / ".ready").exists():
        shutil.rmtree(ready, ignore_errors=True)
        venv.create(ready, symlinks=True, with_pip=True)
        (site,) = ready.glob("lib/python*/site-packages")
        for older in site.glob("setuptools*"):  # than the dependencies want
            shutil.rmtree(older)
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (ready / ".ready").touch()
    shutil.copytree(ready, host.home / "trimtab" / ".venv", symlinks=True)


def _connect(host: Host) -> None:
    _run("ip", "netns", "add", host.name)
    plugs = (
        ("eth0", f"v{host.name}", BRIDGE, host.address),
        ("eth1", f"o{host.name}", OUTSIDE_BRIDGE, host.outer_address),
    )
    for device, plug, bridge, address in plugs:
        _run("ip", "link", "add", plug, "type", "veth", "peer", "name", device, "netns", host.name)
        _run("ip", "link", "set", plug, "master", bridge, "up")
        _run("ip", "-n", host.name, "addr", "add", f"{address}/24", "dev", device)
    for device in ("eth0", "eth1", "lo"):
        _run("ip", "-n", host.name, "link", "set", device, "up")
    _run("ip", "-n", host.name, "route", "add", "default", "via", GATEWAY)


def _remove_network(number: int) -> None:
    for i in range(1, number + 1):
        with suppress(subprocess.CalledProcessError):
            _run("ip", "netns", "del", f"trimtab{i}")
    for bridge in (BRIDGE, OUTSIDE_BRIDGE):
        with suppress(subprocess.CalledProcessError):
            _run("ip", "link", "del", bridge)


def _check() -> None:
    if os.geteuid() != 0:
        raise HostsError("hosts need root, for their networks")
    if missing := [each for each in NEEDED if not shutil.which(each, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]:
        raise HostsError(
            f"hosts need {', '.join(missing)}: apt-get install openssh-server iproute2 nftables rsync util-linux"
        )


def _at_home(line: str) -> str:
    """A line of /etc/passwd, root's with the home directory that each host has of its own."""
    fields = line.split(":")
    return ":".join([*fields[:5], str(HOME), *fields[6:]]) if fields[0] == "root" else line


def _run(*command: object) -> str:
    return subprocess.run([str(each) for each in command], check=True, capture_output=True, text=True).stdout
