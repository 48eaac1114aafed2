"""`report MODEL`: what a model was asked and answered in a range of time, beside its reference, as an HTML page."""

import argparse
import re
import time
from pathlib import Path

from telemetry import configuration
from telemetry.drift import history
from telemetry.drift.report import render
from telemetry.errors import TelemetryError
from telemetry.storage.data_folder import default_folder
from telemetry.storage.storage import FILE, Storage

_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}


class ReportError(TelemetryError):
    """There is nothing to report on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the range and where the page goes."""
    parser.add_argument("model", metavar="MODEL", help="name of the model, as it is served")
    parser.add_argument("--since", type=_ago, default="7d", metavar="AGO", help="begin so long ago: 90m, 6h, 7d (7d)")
    parser.add_argument("--until", type=_ago, default="0m", metavar="AGO", help="end so long ago (0m)")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page (report.html)")
    parser.add_argument("--collector", type=Path, metavar="collector.yaml", help="settings that name the data_dir")


def run(options: argparse.Namespace) -> int:
    """Write the page.

    Raises:
        ConfigurationError: the settings say what cannot be.
        ReportError: nothing is kept there.
    """
    folder = configuration.read(options.collector, {}).data_dir or default_folder()
    if not (folder / FILE).is_file():
        raise ReportError(f"data_dir must be the folder of a collector that has run, got {folder}")
    now_s = time.time()
    storage = Storage(folder)
    try:
        found = history.read(storage, options.model, now_s - options.since, now_s - options.until)
        services = sorted({each.key.service for each in storage.select()}) if not found.counted else []
    finally:
        storage.close()
    if services and options.model not in services:
        raise ReportError(f"MODEL must be one of {', '.join(services)}, got {options.model!r}")
    options.out.write_text(render(found), encoding="utf-8")
    print(options.out)
    return 0


def _ago(text: str) -> float:
    """Seconds that "90m", "6h" or "7d" are."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be a number and m, h, d or w, got {text!r}")
    return float(match[1]) * _UNITS_S[match[2]]
