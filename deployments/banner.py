"""Tells where everything is, once it answers."""

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from deployments import preflight
from optimization.artifact import ArtifactError, find, load

READY_TIMEOUT_S = 180.0
EXAMPLE = "example.json"
"""A request that fits the model, if the artifact has one."""


def announce(config: Mapping[str, Any]) -> None:
    """Wait until the server is ready, then print the addresses and a request to try."""
    console = Console(stderr=True, highlight=False)
    host, port = preflight.http_address(config)
    base = f"http://{'localhost' if host in ('0.0.0.0', '127.0.0.1') else host}:{port}"
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _answers(f"{base}/v2/health/ready"):
        if time.monotonic() > deadline:
            console.print(f"[yellow]not ready after {READY_TIMEOUT_S:.0f} s:[/] `serve status` says what is missing")
            return
        time.sleep(0.3)
    console.print("\n[bold green]Trimtab is ready.[/]")
    for route, settings in preflight.models(config):
        console.print(f"  model      {base}{route}")
        try:
            artifact = load(find(settings.artifacts, settings.artifact, settings.version))
        except ArtifactError:  # gone since the preflight; the replica has it in memory
            continue
        if EXAMPLE in artifact.manifest.files:
            console.print(f"  try        curl -s {base}{route}/infer -d @{artifact.path / EXAMPLE}", soft_wrap=True)
    console.print(f"  server     {base}/v2")
    console.print(f"  telemetry  {base}/telemetry")
    console.print("  dashboard  http://localhost:8265")
    console.print("Ctrl-C stops everything.\n")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
