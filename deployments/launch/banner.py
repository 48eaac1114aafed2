"""Tells where everything is, once it answers."""

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from deployments.access.guard import keys_file
from deployments.launch import preflight
from deployments.replicas.source import published
from optimization.artifact.store import EXAMPLE, ArtifactError, load


def announce(config: Mapping[str, Any]) -> None:
    """Wait until the server is ready, then print the addresses and a request to try."""
    console = Console(stderr=True, highlight=False)
    host, port = preflight.http_address(config)
    certificate = preflight.check_certificate()
    base = f"http{'s' if certificate else ''}://{'localhost' if host in ('0.0.0.0', '127.0.0.1') else host}:{port}"
    trust = trusting(certificate) if certificate else None
    told: set[str] = set()
    while not answers(f"{base}/v2/health/ready", trust):
        for name, message in _failures().items():
            if name not in told:
                console.print(f"[bold red]application {name!r} failed:[/] {message}")
                told.add(name)
        time.sleep(0.3)
    console.print("\n[bold green]Trimtab is ready.[/]")
    for route, settings in preflight.models(config):
        console.print(f"  model      {base}{route}")
        try:
            with published(settings.source(), settings.answering) as copy:
                artifact = load(copy.path)
        except ArtifactError:  # gone since the preflight; the replica has it in memory
            continue
        if EXAMPLE in artifact.manifest.files:
            key = " -H 'X-API-Key: <key>'" if keys_file(settings.access, host) else ""
            command = f"curl -s {base}{route}/infer{key} -d @{artifact.path / EXAMPLE}"
            console.print(f"  try        {command}", soft_wrap=True)
    for route in preflight.pipelines(config):
        console.print(f"  pipeline   {base}{route}")
    console.print(f"  server     {base}/v2")
    grpc_port = preflight.grpc_port_of(config)
    if grpc_port is not None:
        console.print(f"  gRPC       {base.partition('://')[2].rpartition(':')[0]}:{grpc_port}")
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


def trusting(certificate: Path) -> ssl.SSLContext:
    """Trusts this very certificate, under whatever name it is for: the question is whether our server answers."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def answers(url: str, trust: ssl.SSLContext | None) -> bool:
    """Whether a GET of `url` is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2, context=trust) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
