"""Figures by name: which are asked for, each measured once, the last line JSON."""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.throughput import Figures, Rounds


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One set-up and the figures it gives."""

    keys: tuple[str, ...]
    measure: Callable[[argparse.Namespace, Rounds], Figures]


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The options that every such command has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: for a look, not for a claim")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one round")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="figures to measure (default: all)")
    return parser


def wanted_of(
    parser: argparse.ArgumentParser, options: argparse.Namespace, measurements: Sequence[Measurement]
) -> set[str]:
    """The figures that were asked for, all where none was named; ends the command where one is unknown."""
    known = [key for measurement in measurements for key in measurement.keys]
    wanted = set(options.only or known)
    if unknown := sorted(wanted - set(known)):
        parser.error(f"--only must name figures of {', '.join(known)}; got {', '.join(unknown)}")
    return wanted


def print_figures(measurements: Iterable[Measurement], wanted: set[str], options: argparse.Namespace) -> None:
    """Measure what gives a figure in `wanted`, and print it."""
    rounds = Rounds(rounds=1, seconds=2) if options.quick else Rounds(rounds=options.rounds, seconds=options.seconds)
    figures: Figures = {}
    for measurement in measurements:
        if wanted & set(measurement.keys):
            print(f"measuring {', '.join(measurement.keys)}", flush=True)
            figures |= measurement.measure(options, rounds)
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))
