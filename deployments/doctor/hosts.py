"""The hosts of a `cluster.yaml` before Ray runs there: asked by ssh, each of all others.

What is run there needs a POSIX shell and no more; it changes nothing.
"""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from deployments.doctor.facts import Facts
from deployments.doctor.finding import Finding, Verdict
from deployments.hosts.ssh import HostError, Run

SSH_PORT = 22
NEEDED = ("bash", "rsync", "python3")
_ASKED = """
echo time=$(date +%s.%N)
echo python=$(python3 -c 'import platform; print(platform.python_version())' 2>/dev/null)
echo free=$(df -Pk "$HOME" | awk 'NR==2 {print $4 * 1024}')
echo total=$(df -Pk "$HOME" | awk 'NR==2 {print $2 * 1024}')
echo soft=$(ulimit -S -n)
echo hard=$(ulimit -H -n)
echo shm=$(df -Pk /dev/shm 2>/dev/null | awk 'NR==2 {print $2 * 1024}')
echo memory=$(awk '/^MemTotal/ {print $2 * 1024}' /proc/meminfo)
echo available=$(awk '/^MemAvailable/ {print $2 * 1024}' /proc/meminfo)
for each in NEEDED; do command -v $each >/dev/null || echo missing=$each; done
for each in OTHERS; do
  timeout 5 bash -c "exec 3<>/dev/tcp/$each/PORT" 2>/dev/null || echo unreached=$each
done
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a host said."""

    facts: Facts
    ahead_s: float
    """Its clock, against this host's; to half of what the answer took."""
    missing: tuple[str, ...]
    """Programs that `ray up` needs."""
    unreached: tuple[str, ...]
    """Hosts that it cannot connect to."""


def addresses(content: Mapping[str, Any]) -> list[str]:
    """The hosts of a cluster on premises, the head first; none of one whose hosts a provider makes."""
    provider = content.get("provider") or {}
    if not isinstance(provider, dict) or provider.get("type") != "local":
        return []
    workers = provider.get("worker_ips") or []
    return [str(each) for each in (provider.get("head_ip"), *workers) if each]


def asked(hosts: Sequence[str], run: Run) -> dict[str, Asked | HostError]:
    """What each host says, all at once."""
    with ThreadPoolExecutor(max(1, min(32, len(hosts)))) as pool:
        return dict(zip(hosts, pool.map(lambda host: _asked(host, hosts, run), hosts), strict=True))


def findings(said: Mapping[str, Asked | HostError], ssh_user: str = "") -> Iterator[Finding]:
    """What is to be said of each host besides its facts."""
    for host, answer in said.items():
        if isinstance(answer, HostError):
            who = f"{ssh_user}@{host}" if ssh_user else host
            mend = f"try `ssh {who} true`: is the host up, the user right, the key in its authorized_keys?"
            yield Finding(where=host, what="ssh", found=str(answer), verdict=Verdict.FAULT, mend=mend)
            continue
        if answer.missing:
            yield Finding(
                where=host,
                what="programs",
                found=f"{', '.join(answer.missing)} missing",
                verdict=Verdict.FAULT,
                mend=f"apt-get install {' '.join(answer.missing)}",
            )
        if answer.unreached:
            yield Finding(
                where=host,
                what="reachability",
                found=f"cannot connect to {', '.join(answer.unreached)}, port {SSH_PORT}",
                verdict=Verdict.FAULT,
                mend="open the firewall between the hosts: Ray's nodes connect to each other on all ports",
            )
        else:
            yield Finding(where=host, what="reachability", found="connects to all other hosts")


def _asked(host: str, hosts: Sequence[str], run: Run) -> Asked | HostError:
    others = " ".join(shlex.quote(each) for each in hosts if each != host)
    script = _ASKED.replace("NEEDED", " ".join(NEEDED)).replace("OTHERS", others).replace("PORT", str(SSH_PORT))
    began_s = time.time()
    try:
        lines = run(host, f"export LC_ALL=C\n{script}").splitlines()
    except HostError as error:
        return error
    pairs = [line.split("=", 1) for line in lines if "=" in line]
    said = {name: value for name, value in pairs if value}
    time_s = float(said.get("time", began_s))
    total = _number(said, "total") or 1
    return Asked(
        facts=Facts(
            host=host,
            time_s=time_s,
            python=said.get("python", "0"),
            packages={},
            is_clock_steered=None,
            free_bytes={"the home folder": _number(said, "free") or 0},
            free_share={"the home folder": (_number(said, "free") or 0) / total},
            open_files=_number(said, "soft"),
            most_open_files=_number(said, "hard"),
            shm_bytes=_number(said, "shm"),
            memory_bytes=_number(said, "memory"),
            free_memory_bytes=_number(said, "available"),
        ),
        ahead_s=_outside(time_s, began_s, time.time()),
        missing=tuple(value for name, value in pairs if name == "missing"),
        unreached=tuple(value for name, value in pairs if name == "unreached"),
    )


def _outside(time_s: float, began_s: float, ended_s: float) -> float:
    """How far a time lies outside of the range in which it was told."""
    return time_s - min(max(time_s, began_s), ended_s)


def _number(said: Mapping[str, str], name: str) -> int | None:
    try:
        return int(float(said[name]))
    except (KeyError, ValueError):  # `unlimited`, or a host without it
        return None
