"""`score MODEL --input PATH --output PATH`: every row of files, answered by a model; docs/scoring.md says more."""

import argparse
from typing import Any

from rich.console import Console

from deployments.offline.model import model
from deployments.offline.progress import duration, shown
from deployments.offline.run import Order, Progress, Spread, score

STOPPED = "stopped; the same command goes on where this run was"


def scored(options: argparse.Namespace, spread: Spread) -> Progress:
    """Do it, showing how far it is on standard error.

    Raises:
        ScoringError, ArtifactError, SettingsError: something is to be mended.
    """
    order = Order(
        model=model(options.model, options.artifacts, options.version),
        input=options.input,
        output=options.output,
        format=options.format,
        columns=dict(options.column),
        keep=options.keep,
        chunk_rows=options.chunk_rows,
        max_bad=options.max_bad,
    )
    with shown(Console(stderr=True)) as report:
        return score(order, spread, report)


def summary(progress: Progress, output: str) -> dict[str, Any]:
    """What was done, for `--json`."""
    return {
        "rows": progress.num_rows,
        "bad_rows": progress.num_bad,
        "rows_before": progress.num_before,
        "rows_per_s": round(progress.rows_per_s, 1),
        "output": output,
    }


def show(console: Console, progress: Progress, output: str) -> None:
    """The same, for people."""
    now = progress.num_rows - progress.num_before
    before = f" ({progress.num_before:,} of them by an earlier run)" if progress.num_before else ""
    rate = progress.rows_per_s
    speed = f", {rate:,.0f} rows/s for {duration(now / rate)}" if rate else ""
    console.print(f"{progress.num_rows:,} rows{before}, {progress.num_bad:,} bad{speed}: {output}", soft_wrap=True)
    for example in progress.examples:
        console.print(f"  {example}", style="yellow", markup=False, soft_wrap=True)
