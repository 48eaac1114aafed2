"""Figures by name: which are asked for, each measured once, the last line JSON."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from benchmarks.throughput import Figures, Rounds

_NONE: Mapping[str, float] = MappingProxyType({})


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


def print_figures(
    measurements: Iterable[Measurement],
    wanted: set[str],
    options: argparse.Namespace,
    *,
    at_least: Mapping[str, float] = _NONE,
    at_most: Mapping[str, float] = _NONE,
) -> None:
    """Measure what gives a figure in `wanted`, and print it, each with its bound where it has one."""
    rounds = Rounds(rounds=1, seconds=2) if options.quick else Rounds(rounds=options.rounds, seconds=options.seconds)
    figures: Figures = {}
    for measurement in measurements:
        if wanted & set(measurement.keys):
            print(f"measuring {', '.join(measurement.keys)}", flush=True)
            figures |= measurement.measure(options, rounds)
    for key in figures:
        if said := verdict(key, figures[key], at_least=at_least, at_most=at_most):
            print(f"{key:32} {figures[key]:10.4g}  {said}", flush=True)
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))


def verdict(key: str, value: float, *, at_least: Mapping[str, float], at_most: Mapping[str, float]) -> str:
    """How a figure compares with what it should be; nothing where it is but told."""
    if key in at_least:
        return f"{'✓' if value >= at_least[key] else '✗'} at least {at_least[key]}"
    if key in at_most:
        return f"{'✓' if value <= at_most[key] else '✗'} at most {at_most[key]}"
    return ""
