"""`status`: whether a server answers, what it serves and what is wrong with it."""

from typing import Any

from rich.console import Console
from rich.table import Table

from deployments.commands.artifacts import served
from deployments.commands.client import Client
from deployments.errors import CallError


def gathered(client: Client) -> dict[str, Any]:
    """Health, models, and what the collector knows of them.

    Raises:
        CallError: the server does not answer, or refuses the key.
    """
    try:
        client.ask("GET", "/v2/health/ready")
        is_ready = True
    except CallError as error:
        if error.status is None:
            raise
        is_ready = False
    # One entry for each version; a model is ready when any of them is, so those come last.
    entries = sorted(client.get("/v2/models"), key=lambda entry: entry["state"] == "READY")
    models = {entry["name"]: {"state": entry["state"]} for entry in entries}
    for name, versions in served(client).items():
        models[name]["versions"] = versions
    return {"ready": is_ready, "models": models} | _watched(client, models)


def show(console: Console, status: dict[str, Any]) -> None:
    """The status as a table and a line for each alert."""
    console.print("[bold green]ready[/]" if status["ready"] else "[bold red]not ready[/]")
    table = Table("model", "state", "versions", "replicas", "requests/s", "p95", "errors")
    for name, model in status["models"].items():
        p95, errors = model.get("p95_s"), model.get("server_error_ratio")
        table.add_row(
            name,
            model["state"],
            ", ".join(model.get("versions", ())),
            _text(model.get("replicas"), "{}"),
            _text(model.get("requests_per_s"), "{:.1f}"),
            _text(p95 and p95 * 1000, "{:.2f} ms"),
            _text(errors, "{:.1%}"),
        )
    console.print(table)
    for alert in status.get("alerts", ()):
        console.print(f"[bold red]alert[/] {alert['service']}: {alert['sentence']}", soft_wrap=True)
    if "unknown" in status:
        console.print(f"numbers and alerts are not known: {status['unknown']}", style="yellow", soft_wrap=True)


def _watched(client: Client, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The collector's numbers, put into `models`, and its alerts; why there are none where it keeps them to itself."""
    try:
        services = client.get("/telemetry/api/services")["services"]
        alerts = client.get("/telemetry/api/alerts")["alerts"]
    except CallError as error:
        return {"unknown": str(error)}
    for service in services:
        if service["name"] in models:
            last = service["last"]
            models[service["name"]] |= {
                "replicas": service["num_instances"],
                "requests_per_s": last.get("throughput"),
                "p95_s": last.get("latency_p95"),
                "server_error_ratio": last.get("server_error_ratio"),
            }
    return {"alerts": [alert for alert in alerts if alert["state"] == "firing"]}


def _text(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
