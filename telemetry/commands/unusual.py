"""`unusual [--since 1d]`: when what a collector has kept was unlike its own past, the most surprising first."""

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from telemetry.commands.export import age_s
from telemetry.detectors.episodes import Episode, episodes
from telemetry.series.stream import Key
from telemetry.storage.data_folder import default_folder
from telemetry.storage.points import Points
from telemetry.storage.signals import HIGH, LOW, SCOPE
from telemetry.storage.storage import MINUTE_S, Storage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which series, and from when on."""
    parser.add_argument("--metric", help="all series of this gauge or counter; else the signals of the services")
    parser.add_argument("--service", help="those of one service alone")
    parser.add_argument("--since", default="1d", metavar="AGE", help="from when on, such as 90m, 12h or 7d (1d)")
    parser.add_argument("--num", type=int, default=20, help="how many to show (20)")
    parser.add_argument("--data-dir", type=Path, default=default_folder(), metavar="DIR", help="the collector's folder")


def run(options: argparse.Namespace) -> int:
    """Print a line for each episode: when, how surprising, which series, its value and what was expected.

    Raises:
        ConfigurationError: an age is none.
        StorageError: the collector's folder holds nothing.
    """
    now_s = time.time()
    start_s = now_s - age_s("since", options.since)
    storage = Storage(options.data_dir, read_only=True)
    try:
        found = [
            (episode, key)
            for key, points in _series(storage, options.metric, options.service, now_s)
            for episode in episodes(points.times.tolist(), points.values.tolist())
            if episode.time_s >= start_s
        ]
    finally:
        storage.close()
    for episode, key in sorted(found, key=lambda each: -each[0].score)[: options.num]:
        print(_line(episode, key))
    return 0


def _series(storage: Storage, metric: str | None, service: str | None, now_s: float) -> Iterator[tuple[Key, Points]]:
    """All that is kept of each, by the minute: the past before the range is what it is compared with."""
    where = None if metric else _is_signal
    for each in storage.select(metric, service=service, where=where):
        if each.kind != "histogram":
            points = storage.read(each.id, 0.0, now_s, step_s=MINUTE_S)
            yield each.key, _finite(points if each.kind == "gauge" else _rates(points))


def _is_signal(key: Key) -> bool:
    return key.scope.name == SCOPE.name and not key.metric.endswith((LOW, HIGH))


def _rates(totals: Points) -> Points:
    """What a counter counted each second."""
    rates = np.diff(totals.values) / np.maximum(np.diff(totals.times), 1e-3)
    return Points(totals.times[1:], rates, rates, rates)


def _finite(points: Points) -> Points:
    """Without the ends of a signal, which are no numbers."""
    is_finite = np.isfinite(points.values)
    return Points(*(column[is_finite] for column in points))


def _line(episode: Episode, key: Key) -> str:
    when = datetime.fromtimestamp(episode.time_s, UTC).strftime("%Y-%m-%d %H:%M")
    of = ", ".join([*([key.instance] if key.instance else []), *(f"{name}={value}" for name, value in key.attributes)])
    low, high = episode.expected
    return (
        f"{when}Z  {episode.score:5.1f}  {key.service} {key.metric}{f' ({of})' if of else ''}: {episode.value:.4g}, "
        f"usually {low:.4g} to {high:.4g}"
    )
