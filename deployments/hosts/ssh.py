"""Scripts that other hosts run, logged in to as `ray up` does."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

CONNECT_S, ASKED_S = 10, 30
_AS_RAY = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
"""What `ray up` sets, too: hosts that are not known yet are asked, and none is written down."""


class HostError(Exception):
    """A host cannot be asked, or cannot do what it was told; the message says why."""


class Run(Protocol):
    """Runs a script on a host."""

    def __call__(self, host: str, script: str, timeout_s: float = ASKED_S) -> str:
        """What the script prints.

        Raises:
            HostError: the host cannot be logged in to, or the script failed or took longer.
        """


def by_ssh(content: Mapping[str, Any]) -> Run:
    """Logs in with the user and the key that a `cluster.yaml` names."""
    auth = content.get("auth") or {}
    settings = ("BatchMode=yes", f"ConnectTimeout={CONNECT_S}", "LogLevel=ERROR", *_AS_RAY)
    options = [word for setting in settings for word in ("-o", setting)]
    if key := auth.get("ssh_private_key"):
        options += ["-i", str(Path(key).expanduser())]
    if proxy := auth.get("ssh_proxy_command"):
        options += ["-o", f"ProxyCommand={proxy}"]
    user = f"{auth['ssh_user']}@" if auth.get("ssh_user") else ""

    def run(host: str, script: str, timeout_s: float = ASKED_S) -> str:
        try:
            done = subprocess.run(
                ["ssh", *options, f"{user}{host}", "sh -s"],
                input=script,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError as error:
            raise HostError("this host has no ssh: install openssh-client") from error
        except subprocess.TimeoutExpired as error:
            raise HostError(f"no answer within {timeout_s:g} s") from error
        if done.returncode:
            raise HostError((done.stderr.strip().splitlines() or [f"ssh ended with {done.returncode}"])[-1])
        return done.stdout

    return run
