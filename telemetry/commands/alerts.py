"""`alerts`: the incidents that are open, and what is known of their causes; acknowledges, silences and ends them."""

import argparse
import getpass
import json
import os
import time
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from telemetry.errors import TelemetryError

KEY = "TRIMTAB_KEY"
TIMEOUT_S = 10.0
EVERY_S = 2.0
OPEN, CALM = 1, 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to ask, and what to do."""
    parser.add_argument("--url", default="http://localhost:8000/telemetry", help="the page (default: %(default)s)")
    parser.add_argument("--key", default=os.environ.get(KEY), help=f"a key, where one is needed (default: ${KEY})")
    parser.add_argument("--watch", action="store_true", help="go on showing them until Ctrl-C")
    parser.add_argument("--all", action="store_true", help="those that have ended too")
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    parser.add_argument("--by", default=getpass.getuser(), help="who does what follows (default: %(default)s)")
    parser.add_argument("--why", default="", help="said beside it")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--acknowledge", type=int, metavar="ID", help="say that somebody looks after an incident")
    act.add_argument("--accept", type=int, metavar="ID", help="end it: what its signals are now is normal")
    act.add_argument("--silence", metavar="SERVICE", help="tell nobody of a service's incidents for --hours")
    parser.add_argument("--hours", type=float, default=1.0, help="of --silence (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Show; the exit code is 1 where an incident is open that is not silenced.

    Raises:
        TelemetryError: the collector does not answer, or refuses.
    """
    with _client(options) as client:
        _act(client, options)
        console = Console()
        if options.watch:
            return _watch(client, console, options)
        told = _ask(client, "GET", "/api/incidents")
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        console.print(_shown(told, everything=options.all))
    return OPEN if any(each["state"] == "open" and not each["silenced"] for each in told["incidents"]) else CALM


def _client(options: argparse.Namespace) -> httpx.Client:
    if urlsplit(options.url).scheme not in ("http", "https"):
        raise TelemetryError(f"--url must begin with http:// or https://, got {options.url!r}")
    headers = {"X-API-Key": options.key} if options.key else {}
    return httpx.Client(base_url=options.url.rstrip("/"), headers=headers, timeout=TIMEOUT_S)


def _act(client: httpx.Client, options: argparse.Namespace) -> None:
    said = {"by": options.by, "why": options.why}
    if options.acknowledge is not None:
        _ask(client, "POST", f"/api/incidents/{options.acknowledge}/acknowledge", said)
    elif options.accept is not None:
        _ask(client, "POST", f"/api/incidents/{options.accept}/accept", said)
    elif options.silence is not None:
        if not options.why:
            raise TelemetryError("--silence needs --why: whoever is not told will ask")
        _ask(client, "POST", "/api/silences", {**said, "service": options.silence, "for_s": options.hours * 3600})


def _ask(client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    try:
        answer = client.request(method, path, json=body)
        if answer.is_success:
            return answer.json()
        said = answer.text[:500]
    except (httpx.HTTPError, ValueError) as error:
        raise TelemetryError(f"--url must be where the page is, got {client.base_url}: {error}") from error
    if answer.status_code in (401, 403):
        raise TelemetryError(f"--key must be an administrator's, got an answer of {answer.status_code}: {said}")
    raise TelemetryError(f"{client.base_url}{path} answered {answer.status_code}: {said}")


def _watch(client: httpx.Client, console: Console, options: argparse.Namespace) -> int:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                shown = _shown(_ask(client, "GET", "/api/incidents"), everything=options.all)
            except TelemetryError as error:
                shown = Text(str(error), style="yellow")
            live.update(shown, refresh=True)
            time.sleep(EVERY_S)


def _shown(told: dict[str, Any], *, everything: bool) -> RenderableType:
    incidents = [each for each in told["incidents"] if everything or each["state"] == "open"]
    if not incidents:
        return Text("no incident is open", style="green")
    table = Table("id", "since", "for", "state", "what", "probable cause", box=None, pad_edge=False)
    for each in incidents:
        lasted_s = (each["ended_s"] or told["now"]) - each["started_s"]
        table.add_row(
            str(each["id"]),
            f"{datetime.fromtimestamp(each['started_s']):%m-%d %H:%M:%S}",
            _duration(lasted_s),
            _state(each),
            Text(each["title"]),
            Text("; ".join(cause["text"] for cause in each["causes"][:2])),
        )
    silences = [
        Text(
            f"silenced: {each['service']} until {datetime.fromtimestamp(each['until_s']):%m-%d %H:%M}, by {each['by']}"
        )
        for each in told["silences"]
    ]
    return Group(table, *silences)


def _state(incident: dict[str, Any]) -> Text:
    if incident["state"] != "open":
        return Text(f"ended, {incident['ended_by']}", style="dim")
    if incident["silenced"]:
        return Text("silenced", style="dim")
    who = incident["acknowledged"]
    return Text(f"open, {who['by']} looks" if who else "open", style="yellow" if who else "bold red")


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 3 else f"{hours:.0f} h"
