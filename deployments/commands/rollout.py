"""`rollout MODEL VERSION`, `rollout show | promote | abort | list`: what is asked of the server, and what it says."""

import argparse
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from deployments.commands import client
from deployments.commands.client import Client
from deployments.commands.found import print_found
from deployments.errors import InputError

VERBS = ("show", "promote", "abort", "list")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rollout`."""
    parser.add_argument("words", nargs="+", metavar="MODEL VERSION | show | promote | abort MODEL | list")
    parser.add_argument("--shadow", action="store_true", help="begin with copies of requests, answered to nobody")
    parser.add_argument("--canary", metavar="PERCENT,...", help="shares of the requests, step after step: 1,10,50")
    parser.add_argument("--auto", action="store_true", help="promote a version that proved good in all steps")
    parser.add_argument("--step", type=float, metavar="SECONDS", help="fewest seconds of a step")
    parser.add_argument("--why", help="kept with the decision, such as who takes it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    client.add_arguments(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Do what `rollout` was asked to; the exit code.

    Raises:
        InputError: it was asked nothing that it does.
        CallError: the server does not answer, or refuses.
    """
    found = done(options, client.of(options))
    print_found(options, found, lambda: show(console, options, found))
    return 0


def done(options: argparse.Namespace, server: Client) -> Any:
    """What the server answers to that command line.

    Raises:
        InputError: it says no such command.
        CallError: the server does not answer, or refuses.
    """
    why = {"why": options.why} if options.why else {}
    match options.words:
        case ["list"]:
            return server.get("/v2/rollouts")
        case ["show", model]:
            return server.get(f"/v2/rollouts/{model}")
        case [("promote" | "abort") as verb, model]:
            return _post(server, f"/v2/rollouts/{model}/{verb}", why)
        case [model, version] if model not in VERBS:
            return _post(server, f"/v2/rollouts/{model}", {"version": version, **_settings(options), **why})
        case words:
            rule = "rollout takes MODEL VERSION, show MODEL, promote MODEL, abort MODEL or list"
            raise InputError(f"{rule}, got {' '.join(words)!r}")


def show(console: Console, options: argparse.Namespace, found: Any) -> None:
    """The same for people."""
    match options.words:
        case ["list"]:
            _show_all(console, found["rollouts"])
        case ["show", _]:
            _show_decisions(console, found["rollouts"][0])
        case _:
            console.print(f"{_title(found)}: {_phase(found)}: {found['text']}", soft_wrap=True)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What is said of the steps; the rest is the model's own."""
    given: dict[str, Any] = {}
    if options.shadow:
        given["shadow"] = True
    if options.auto:
        given["auto"] = True
    if options.step is not None:
        given["step_s"] = options.step
    if options.canary is not None:
        try:
            given["canary"] = [float(percent) for percent in options.canary.split(",") if percent]
        except ValueError as error:
            raise InputError(f"--canary must be percentages such as 1,10,50, got {options.canary!r}") from error
    return given


def _post(server: Client, path: str, body: Mapping[str, Any]) -> Any:
    answer = server.ask("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})[1]
    return json.loads(answer)


def _show_all(console: Console, rollouts: list[dict[str, Any]]) -> None:
    table = Table("model", "version", "after", "phase", "since", "why")
    for each in rollouts:
        since = _moment(each["since_s"])
        table.add_row(each["model"], each["candidate"], each["baseline"], _phase(each), since, each["text"])
    console.print(table)


def _show_decisions(console: Console, rollout: dict[str, Any]) -> None:
    console.print(_title(rollout), style="bold")
    for decision in rollout["decisions"]:
        console.print(f"{_moment(decision['at_s'])}  [bold]{_phase(decision)}[/]: {decision['text']}", soft_wrap=True)
        for finding in (decision["evidence"] or {}).get("findings", ()):
            console.print(f"    {finding['kind']:<12} {finding['signal']}: {finding['text']}", soft_wrap=True)
    if rollout["said"]:
        console.print(f"now: {rollout['said']}", soft_wrap=True)


def _title(rollout: Mapping[str, Any]) -> str:
    return f"{rollout['model']} version {rollout['candidate']} after {rollout['baseline']}"


def _phase(told: Mapping[str, Any]) -> str:
    words = str(told["phase"]).replace("_", " ")
    return f"{words} {100 * told['share']:g} %" if told["phase"] == "canary" else words


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
