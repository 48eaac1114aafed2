"""`export --out DIR [--since 7d]`: what a collector has kept, as Parquet files, while it runs or not."""

import argparse
import re
import time
from pathlib import Path

from telemetry.errors import ConfigurationError
from telemetry.storage.data_folder import default_folder
from telemetry.storage.export import export
from telemetry.storage.storage import Storage

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to export, and where to."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--since", default="7d", metavar="AGE", help="how far back, such as 90m, 12h, 7d or 4w (7d)")
    parser.add_argument("--until", default="0m", metavar="AGE", help="up to how long ago (0m)")
    parser.add_argument("--data-dir", type=Path, default=default_folder(), metavar="DIR", help="the collector's folder")


def run(options: argparse.Namespace) -> int:
    """Write the files and say how many rows each has.

    Raises:
        ConfigurationError: an age is none, or the folder cannot be written to.
        StorageError: the collector's folder holds nothing.
    """
    now_s = time.time()
    start_s, end_s = now_s - age_s("since", options.since), now_s - age_s("until", options.until)
    storage = Storage(options.data_dir, read_only=True)
    try:
        num_rows = export(storage, options.out, start_s, end_s)
    except OSError as error:
        raise ConfigurationError(f"out must be a folder that can be written to, got {error}") from None
    finally:
        storage.close()
    for name, num in num_rows.items():
        print(f"{options.out / name}.parquet: {num} rows")
    return 0


def age_s(setting: str, text: str) -> float:
    """Seconds of an age such as 7d.

    Raises:
        ConfigurationError: it is none.
    """
    match = re.fullmatch(r"(\d+)([mhdw])", text)
    if match is None:
        raise ConfigurationError(f"{setting} must be a number and m, h, d or w, such as 7d, got {text!r}")
    return int(match[1]) * float(_UNITS[match[2]])
