"""Tells where everything is, once it answers."""

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from deployments import preflight
from optimization.artifact import EXAMPLE, ArtifactError, find, load


def announce(config: Mapping[str, Any]) -> None:
    """Wait until the server is ready, then print the addresses and a request to try."""
    console = Console(stderr=True, highlight=False)
    host, port = preflight.http_address(config)
    base = f"http://{'localhost' if host in ('0.0.0.0', '127.0.0.1') else host}:{port}"
    told: set[str] = set()
    while not _answers(f"{base}/v2/health/ready"):
        for name, message in _failures().items():
            if name not in told:
                console.print(f"[bold red]application {name!r} failed:[/] {message}")
                told.add(name)
        time.sleep(0.3)
    console.print("\n[bold green]Trimtab is ready.[/]")
    for route, settings in preflight.models(config):
        console.print(f"  model      {base}{route}")
        try:
            artifact = load(find(settings.artifacts, settings.artifact, settings.answering))
        except ArtifactError:  # gone since the preflight; the replica has it in memory
            continue
        if EXAMPLE in artifact.manifest.files:
            console.print(f"  try        curl -s {base}{route}/infer -d @{artifact.path / EXAMPLE}", soft_wrap=True)
    console.print(f"  server     {base}/v2")
    console.print(f"  telemetry  {base}/telemetry")
    console.print("Ctrl-C stops everything.\n")


def _failures() -> dict[str, str]:
    """Applications that cannot start, each with the last line of why."""
    import ray  # here, since Ray Serve reads its environment on import and this module comes before it is set
    from ray import serve
    from ray.serve.exceptions import RayServeException
    from ray.serve.schema import ApplicationStatus

    if not ray.is_initialized():
        return {}
    try:
        applications = serve.status().applications
    except (RayServeException, ray.exceptions.RayError):  # Serve is not up yet, or no longer
        return {}
    failed = {ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY}
    return {
        name: (application.message.strip().splitlines() or ["it gave no reason"])[-1]
        for name, application in applications.items()
        if application.status in failed
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
