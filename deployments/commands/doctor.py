"""`doctor [serve_config.yaml] [cluster.yaml]`: what is, whether that is fine, and what to do, line by line."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from deployments.commands import client
from deployments.commands.client import Client
from deployments.commands.found import print_found
from deployments.doctor import configuration, hosts, machine
from deployments.doctor.facts import facts
from deployments.doctor.finding import Finding, Verdict, worst
from deployments.errors import SettingsError
from deployments.hosts.ssh import by_ssh

FAILED = 2
_STYLES = {Verdict.FINE: "green", Verdict.WARNING: "yellow", Verdict.FAULT: "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `doctor`."""
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="serve_config.yaml, cluster.yaml, or both")
    parser.add_argument("--constraints", type=Path, default=Path("constraints.txt"), help="(default: constraints.txt)")
    parser.add_argument("--address", default="auto", metavar="HOST:PORT", help="a Ray cluster (default: this host's)")
    parser.add_argument("--no-cluster", action="store_true", help="ask no Ray cluster, though one may run")
    parser.add_argument("--no-ssh", action="store_true", help="ask no host of cluster.yaml")
    parser.add_argument("--all", action="store_true", help="show what is fine, too")
    client.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace, console: Console) -> int:
    """Look at everything and print it; the exit code is 2 where there is a fault, else 0.

    Raises:
        SettingsError: a file is none of the two.
    """
    with Console(stderr=True).status("looking"):
        found = list(findings(options, client.of(options)))
    verdict = worst(found)
    printed = {"verdict": verdict, "findings": [asdict(each) for each in found]}
    print_found(options, printed, lambda: show(console, found, everything=options.all))
    return FAILED if verdict is Verdict.FAULT else 0


def findings(options: argparse.Namespace, server: Client) -> Iterator[Finding]:
    """All that is found, in the order in which it would hinder."""
    constraints = machine.pinned(options.constraints)
    here = facts()
    yield from machine.judged(here, constraints)
    files = [(path, configuration.read(path)) for path in options.files]
    clusters = [(path, content) for path, content in files if "provider" in content]
    serving = [path for path, content in files if "applications" in content]
    if unknown := [str(path) for path, _ in files if path not in [*serving, *(each for each, _ in clusters)]]:
        raise SettingsError(f"FILE must be a serve_config.yaml or a cluster.yaml, got {', '.join(unknown)}")
    for path in serving:
        yield from configuration.findings(path, server, on_several_hosts=bool(clusters))
    if clusters or not options.no_cluster:
        from deployments.doctor import nodes  # Ray takes a second to import
    for path, content in clusters:
        yield nodes.checked(path, content)
        if not options.no_ssh:
            yield from _of_hosts(content)
    if not options.no_cluster:
        answers, found = nodes.asked(options.address)
        yield from found
        others = [each for each in answers if each.facts.host != here.host]
        for each in others:
            yield from machine.judged(each.facts, constraints)
        yield from machine.together(
            [each.facts for each in answers], {each.facts.host: each.ahead_s for each in others}
        )


def _of_hosts(content: dict[str, Any]) -> Iterator[Finding]:
    said = hosts.asked(hosts.addresses(content), by_ssh(content))
    yield from hosts.findings(said, (content.get("auth") or {}).get("ssh_user", ""))
    answers = [each for each in said.values() if isinstance(each, hosts.Asked)]
    for each in answers:
        yield from machine.of_host(each.facts)
    yield from machine.together([each.facts for each in answers], {each.facts.host: each.ahead_s for each in answers})


def show(console: Console, found: Sequence[Finding], *, everything: bool) -> None:
    """A line for each finding that is not fine, or for all; and how many there are."""
    for each in found:
        if everything or each.verdict is not Verdict.FINE:
            style = _STYLES[each.verdict]
            text = f"[{style}]{each.verdict:7}[/] {escape(each.where)}: {escape(each.what)}: {escape(each.found)}"
            console.print(text + (f" [dim]→[/] {escape(each.mend)}" if each.mend else ""), soft_wrap=True)
    counts = {verdict: sum(each.verdict is verdict for each in found) for verdict in Verdict}
    said = f"{counts[Verdict.FINE]} fine, {counts[Verdict.WARNING]} warnings, {counts[Verdict.FAULT]} faults"
    console.print(said + ("" if everything or not counts[Verdict.FINE] else "; --all shows what is fine, too"))
