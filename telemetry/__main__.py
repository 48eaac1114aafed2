"""Watches what is served and trained: `python -m telemetry [collector.yaml]` runs the collector and its page."""

import argparse
import importlib
import sys

from telemetry.errors import TelemetryError
from telemetry.receivers.receiver import PortTakenError

COMMANDS = {
    "alerts": "the open incidents in a terminal; acknowledges, silences and ends them",
    "backup": "copy what a collector and the rollouts have kept, while they run or not",
    "collect": "run the collector and its page; what is done where no command is named",
    "export": "write what a collector has kept as Parquet files",
    "report": "write what a model was asked and answered in a range of time, beside its reference, as a page",
    "restore": "make the folders that a backup was made of",
    "unusual": "when what a collector has kept was unlike its own past, the most surprising first",
}
"""Modules of `telemetry.commands` and what each does; only the one that is asked for is imported."""
FAILED, INTERRUPTED = 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code: 0 done, 2 something is to be mended, 130 stopped."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] not in (*COMMANDS, "-h", "--help"):
        words.insert(0, "collect")
    parser = argparse.ArgumentParser(
        prog="python -m telemetry", description=__doc__, epilog="COMMAND --help says more of one"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    if words[0] not in COMMANDS:
        parser.parse_args(words)
    command = importlib.import_module(f"telemetry.commands.{words[0]}")
    command.add_arguments(parsers[words[0]])
    try:
        return int(command.run(parser.parse_args(words)))
    except (TelemetryError, PortTakenError) as error:
        print(error.strerror if isinstance(error, OSError) else error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
