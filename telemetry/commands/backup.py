"""`backup --out DIR`: a copy of what a collector, and the rollouts beside it, have kept; while they run or not."""

import argparse
from pathlib import Path

from telemetry.storage.backup import back_up
from telemetry.storage.data_folder import default_folder, default_rollouts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to copy, and where to."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the copy")
    add_folders(parser)


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Where the state lies."""
    parser.add_argument("--data-dir", type=Path, default=default_folder(), metavar="DIR", help="the collector's folder")
    parser.add_argument("--rollouts", type=Path, default=default_rollouts(), metavar="DIR", help="that of the rollouts")


def run(options: argparse.Namespace) -> int:
    """Copy, and say what was copied.

    Raises:
        StorageError: there is nothing to copy, or no room for it.
    """
    files = back_up(options.data_dir, options.out, options.rollouts, say=print)["files"]
    print(f"{options.out}: {len(files)} files, {sum(each['bytes'] for each in files.values()) / 2**20:.1f} MiB")
    return 0
