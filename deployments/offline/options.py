"""What the command line of scoring may say."""

import argparse

from deployments.offline.files import CHUNK_ROWS, FORMATS, MAX_BAD

NICENESS = 15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.description = (
        "Score every row of Parquet, CSV, JSON lines, text (a row a line) or pictures, into Parquet files. "
        "Run the same command again after a crash or Ctrl-C, and it goes on. Exit code: 0 all rows are scored, "
        "2 something is to be mended, 130 stopped."
    )
    parser.add_argument("model", help="an artifact's name, or the directory of one version")
    parser.add_argument("--input", required=True, metavar="PATH", help="a file or folder, or its URL")
    parser.add_argument("--output", required=True, metavar="PATH", help="a new or empty folder, or its URL")
    parser.add_argument("--artifacts", default="artifacts", help="directory or URL of all artifacts")
    parser.add_argument("--version", metavar="N", help="version of the artifact (default: the newest)")
    parser.add_argument("--format", choices=FORMATS, help="what the files are (default: what their endings say)")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        type=_column,
        metavar="INPUT=COLUMN[,COLUMN]",
        help="what an input of the model is made of (default: the column of its name); several are put together",
    )
    parser.add_argument("--keep", type=_names, metavar="A,B", help="columns of the input to write (default: all)")
    parser.add_argument(
        "--max-bad",
        type=_limit,
        default=MAX_BAD,
        metavar="LIMIT",
        help="end the run when more rows are bad: a number, or a share (default: 1%%)",
    )
    parser.add_argument(
        "--chunk-rows", type=_count, default=CHUNK_ROWS, metavar="N", help=f"rows of one file (default: {CHUNK_ROWS})"
    )
    parser.add_argument(
        "--niceness",
        type=int,
        choices=range(20),
        default=NICENESS,
        metavar="N",
        help=f"0 takes the CPUs as all else does, 19 only what is left (default: {NICENESS})",
    )
    parser.add_argument("--workers", type=_count, metavar="N", help="processes (default: one for each CPU)")


def _column(text: str) -> tuple[str, tuple[str, ...]]:
    name, given, columns = text.partition("=")
    if not (name and given and columns):
        raise argparse.ArgumentTypeError(f"must be like text=sentence, got {text!r}")
    return name, _names(columns)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _limit(text: str) -> int | float:
    """A share as a float, a number of rows as an int."""
    try:
        limit = float(text.removesuffix("%")) / 100 if text.endswith("%") else int(text)
    except ValueError:
        limit = -1
    if not (0 <= limit <= 1 or (isinstance(limit, int) and limit > 1)):
        raise argparse.ArgumentTypeError(f"must be a number of rows, or a percentage such as 1%, got {text}")
    return limit


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number
