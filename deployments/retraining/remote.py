"""What the loop asks of others: which alerts fire, and how a rollout goes."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deployments.commands.client import Client
from deployments.errors import CallError
from deployments.monitoring.alerts import Alert, firing

JSON = {"Content-Type": "application/json"}
CONFLICT = 409


def alerts(telemetry: Client, model: str, signals: Collection[str]) -> list[Alert]:
    """The model's alerts of these signals that fire, oldest first.

    Raises:
        CallError: the collector does not answer, or not as a collector does.
    """
    told = telemetry.get("/api/incidents")
    try:
        return [each for each in firing(told, model) if each.signal in signals]
    except (KeyError, TypeError, ValueError) as error:
        raise CallError(f"{telemetry.url} must be a collector's page, got an answer without {error}") from error


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a rollout goes."""

    state: Literal["none", "under way", "promoted", "dropped"]
    text: str = ""


def begin(server: Client, model: str, version: str, how: Mapping[str, Any], why: str) -> None:
    """Roll the version out; where its rollout is under way already, because it was published, that will do.

    Raises:
        CallError: the server does not answer, or refuses.
    """
    body = json.dumps({**how, "version": version, "why": why}).encode()
    try:
        server.ask("POST", f"/v2/rollouts/{model}", body, JSON)
    except CallError as error:
        if error.status != CONFLICT or standing(server, model, version).state == "none":
            raise


def standing(server: Client, model: str, version: str) -> Standing:
    """How the rollout of the version goes.

    Raises:
        CallError: the server does not answer.
    """
    try:
        told = server.get(f"/v2/rollouts/{model}")["rollouts"]
    except CallError as error:
        if error.status != 404:
            raise
        told = []
    latest = next((each for each in told if each["candidate"] == version), None)
    if latest is None:
        return Standing(state="none")
    text = latest["decisions"][-1]["text"]
    match latest["phase"]:
        case "promoted":
            return Standing(state="promoted", text=text)
        case "rolled_back" | "aborted":
            return Standing(state="dropped", text=text)
        case _:
            return Standing(state="under way", text=text)
