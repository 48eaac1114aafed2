"""How well the detector for arbitrary gauges finds the anomalies of the Numenta Anomaly Benchmark's shared files.

Causal, every value learnt, the threshold that of the detector's stated rate of false alarms; nothing is set for a file.
"""

import argparse
import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.observing.nab_score import Window, normalised, raw_score
from benchmarks.throughput import Figures
from telemetry.detectors.episodes import episodes


@dataclass(frozen=True)
class Series:
    """One file: values with their times, and the windows in which its anomalies lie."""

    name: str
    times_s: Sequence[float]
    values: Sequence[float]
    windows: Sequence[Window]


def figures(options: argparse.Namespace) -> Figures:
    """The score of all files; of those the design was chosen on and of the others; microseconds a value takes."""
    files = series_of(options.data / "nab")
    began_s = time.process_time()
    scores = [raw_score(len(file.values), file.windows, alarms(file)) for file in files]
    took_s = time.process_time() - began_s
    halves = {"nab_shared": slice(None), "nab_chosen_on": slice(0, None, 2), "nab_others": slice(1, None, 2)}
    return {
        **{
            key: normalised(sum(scores[half]), sum(len(file.windows) for file in files[half]))
            for key, half in halves.items()
        },
        "nab_value_us": 1e6 * took_s / sum(len(file.values) for file in files),
    }


def alarms(file: Series) -> list[int]:
    """Places of the values at which an alarm is raised."""
    return [episode.place for episode in episodes(file.times_s, file.values)]


def series_of(folder: Path) -> list[Series]:
    """All files that `windows.json` names, by name."""
    named: dict[str, list[tuple[str, str]]] = json.loads((folder / "windows.json").read_text())
    return [_read(folder, name, named[name]) for name in sorted(named)]


def _read(folder: Path, name: str, windows: Sequence[tuple[str, str]]) -> Series:
    with (folder / "data" / name).open(newline="") as file:
        rows = [(_seconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)]
    times_s, values = zip(*rows, strict=True)
    places = [
        [place for place, time_s in enumerate(times_s) if _seconds(first) <= time_s <= _seconds(last)]
        for first, last in windows
    ]
    return Series(name, times_s, values, [Window(inside[0], inside[-1]) for inside in places])


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
