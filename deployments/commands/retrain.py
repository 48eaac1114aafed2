"""`retrain SETTINGS`: train a model again when an alert says so, and roll the new version out where it is better."""

import argparse
import logging
import signal
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deployments.retraining import journal
from deployments.retraining.journal import Journal
from deployments.retraining.loop import Loop, clients
from deployments.retraining.settings import read
from deployments.retraining.training import Training

OK, DROPPED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which loop, and what to do."""
    parser.add_argument("settings", type=Path, help="a YAML file; docs/retraining.md says what is in it")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="end after one training: 0 if promoted, 1 if dropped")
    what.add_argument("--show", action="store_true", help="print all trainings and why each went as it did, and end")
    what.add_argument("--approve", action="store_true", help="let the version that waits for it be rolled out")
    what.add_argument("--reject", action="store_true", help="let the version that waits for approval go")


def run(options: argparse.Namespace, console: Console) -> int:
    """Watch until Ctrl-C, or do what was asked for.

    Raises:
        SettingsError: a setting breaks a rule, another loop runs, or nothing waits for approval.
    """
    settings = read(options.settings)
    if options.show:
        _show(console, list(journal.read(settings.state).values()))
        return OK
    if options.approve or options.reject:
        journal.give_order(settings.state, "approve" if options.approve else "reject")
        return OK
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    kept = Journal(settings.state)
    try:
        loop = Loop(settings, kept, *clients(settings), say=console.print)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: loop.stop())
        ended = loop.run(once=options.once)
    finally:
        kept.close()
    return DROPPED if ended is not None and ended.phase == "dropped" else OK


def _show(console: Console, trainings: list[Training]) -> None:
    table = Table("training", "when", "phase", "why", box=None)
    for each in trainings:
        for at, decision in enumerate(each.decisions):
            when = datetime.fromtimestamp(decision.at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            table.add_row("" if at else str(each.id), when, decision.phase, decision.text)
    console.print(table)
