"""`restore BACKUP`: the folders that a backup was made of; a collector that is started then goes on from there."""

import argparse
import time
from pathlib import Path

from telemetry.commands.backup import add_folders
from telemetry.storage.backup import restore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to restore, and where to."""
    parser.add_argument("backup", type=Path, metavar="BACKUP", help="a folder that `backup` made")
    add_folders(parser)


def run(options: argparse.Namespace) -> int:
    """Restore, and say from when it is.

    Raises:
        StorageError: it is no backup, or altered; or a folder is not empty.
    """
    manifest = restore(options.backup, options.data_dir, options.rollouts, say=print)
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(manifest["made_s"]))
    print(f"{options.data_dir}: as it was at {made}, made by Trimtab {manifest['release']}")
    return 0
