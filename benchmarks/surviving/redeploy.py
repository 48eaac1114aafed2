"""`serve deploy` to a server that runs, as a user types it."""

import os
import re
import subprocess
from collections.abc import Callable
from typing import Any

import yaml

from benchmarks.servers import BIN, Server

_DASHBOARD = re.compile(r"dashboard at .*?(\d+\.\d+\.\d+\.\d+:\d+)")


def redeploy(server: Server, change: Callable[[dict[str, Any]], None]) -> None:
    """Deploy what the server was started with once more, after `change` has changed its first application.

    Raises:
        RuntimeError: the server names no dashboard, or refuses.
    """
    file = server.log.with_name("config.yaml")
    config = yaml.safe_load(file.read_text())
    change(config["applications"][0])
    file.write_text(yaml.safe_dump(config))
    found = _DASHBOARD.search(server.log.read_text())
    if found is None:
        raise RuntimeError(f"the server must name its dashboard, got:\n{server.log.read_text()[-2000:]}")
    command = [str(BIN / "serve"), "deploy", str(file), "--address", f"http://{found[1]}"]
    environment = {**os.environ, "RAY_AUTH_MODE": "token"}  # as a cluster of one's own has it
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"serve deploy failed:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
