"""What the page shows, as JSON-ready data: times in Unix seconds, values in base units, None where there is nothing."""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry import conventions as names
from telemetry.receivers.attributes import Attributes
from telemetry.receivers.origin import Origin
from telemetry.series.instance import NUM_MISSED
from telemetry.series.service import Service
from telemetry.series.signals import training_step
from telemetry.series.store import SeriesStore
from telemetry.series.traces import SpanStore
from telemetry.series.track import Track
from telemetry.watching.alerts import AlertBook
from telemetry.watching.decision import State

MAX_POINTS = 600
"""Points of one line; a longer range shows the peak or the mean of several."""
MAX_INSTANCES = 8
"""Lines of one plot that stand for an instance; the latest to report are shown."""
STEPS = ("teacher", "control", "distill", "prune", "sparsify", "quantize")

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the data is."""

    services: Mapping[str, Service]
    series: SeriesStore
    alerts: AlertBook
    spans: SpanStore
    clock: Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Signals that share one plot: the line's label and the signal's name."""

    key: str
    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    peak: bool = False
    """Whether a point stands for the largest of the values it covers, instead of their mean."""


PLOTS = (
    Plot(
        key="latency",
        title="Latency",
        unit="s",
        peak=True,
        lines=(("p50", "latency_p50"), ("p95", "latency_p95"), ("p99", "latency_p99")),
    ),
    Plot(key="throughput", title="Throughput", unit="/s", lines=(("requests", "throughput"), ("samples", "samples"))),
    Plot(
        key="errors",
        title="Errors",
        unit="%",
        peak=True,
        lines=(("server errors", "server_error_ratio"), ("client errors", "client_error_ratio")),
    ),
    Plot(
        key="waiting",
        title="Queue and inference, p95",
        unit="s",
        peak=True,
        lines=(("queue", "queue_p95"), ("inference", "inference_p95")),
    ),
    Plot(
        key="cascade",
        title="Cascade: rows sent on to the teacher",
        unit="%",
        lines=(
            ("sent on", "cascade_sent"),
            ("when measured", "cascade_expected"),
            ("unanswered", "cascade_unanswered"),
        ),
    ),
    Plot(key="batch", title="Batch size", unit="samples", lines=(("mean", "batch_size"),)),
    Plot(key="loss", title="Loss", unit="", lines=(("mean", "train_loss"),)),
    Plot(key="step", title="Step time", unit="s", lines=(("mean", "train_step"), ("p95", "train_step_p95"))),
    Plot(
        key="straggler",
        title="Slowest worker's own time, relative to the others",
        unit="",
        lines=(("ratio", "straggler"),),
        peak=True,
    ),
    Plot(key="training", title="Training throughput", unit="/s", lines=(("samples", "train_samples"),)),
    Plot(key="cpu", title="CPU", unit="%", lines=(("sum", "cpu"),)),
    Plot(key="memory", title="Memory", unit="By", lines=(("sum", "memory"),)),
    Plot(key="gpu", title="GPU", unit="%", lines=(("mean", "gpu"),)),
    Plot(key="gpu_memory", title="GPU memory", unit="By", lines=(("sum", "gpu_memory"),)),
)
_PER_INSTANCE = {
    "cpu": names.PROCESS_CPU_UTILIZATION.name,
    "memory": names.PROCESS_MEMORY_USAGE.name,
    "loss": names.TRAIN_LOSS.name,
}


def services(sources: Sources) -> Json:
    """Every service: who reports for it, its last signals and how many alerts are firing."""
    firing = [alert.service for alert in sources.alerts.firing()]
    return {
        "now": sources.clock(),
        "num_refused": sources.series.num_refused,
        "num_skewed": sources.series.num_skewed,
        "services": [
            _service(service, firing.count(name), sources.clock()) for name, service in sorted(sources.services.items())
        ],
    }


def alerts(sources: Sources) -> Json:
    """All alerts that are remembered, those that fire first, then the latest."""
    book = sorted(sources.alerts, key=lambda alert: (alert.state is not State.FIRING, -alert.started_s))
    return {"now": sources.clock(), "alerts": [asdict(alert) for alert in book]}


def series(sources: Sources, service: Service, since_s: float) -> Json:
    """One service's plots since a time, on one grid, with its artifact's numbers and its latest traces.

    `last` holds the value now of each signal and each line has its own: a signal's is the same in both.
    """
    now_s = sources.clock()
    step_s = max(1.0, math.ceil((now_s - since_s) / MAX_POINTS), math.ceil(service.interval_s - 0.5))
    first_s = math.floor(since_s / step_s) * step_s
    num_bins = int((now_s - first_s) / step_s) + 1
    last = _last_values(service)
    plots = []
    for plot in PLOTS:
        tracks = [
            (label, service.history[signal], last[signal]) for label, signal in plot.lines if signal in service.history
        ]
        if plot.key in _PER_INSTANCE:
            tracks += _of_instances(sources, service, _PER_INSTANCE[plot.key], now_s)
        lines = [
            (label, _binned(track, first_s, step_s, num_bins, peak=plot.peak), value) for label, track, value in tracks
        ]
        lines = [line for line in lines if not np.isnan(line[1]).all()]
        if lines:
            plots.append(
                {
                    "key": plot.key,
                    "title": plot.title,
                    "unit": plot.unit,
                    "lines": [
                        {"label": label, "values": values.tolist(), "last": value} for label, values, value in lines
                    ],
                }
            )
    return {
        "now": now_s,
        "since": since_s,
        "service": service.name,
        "times": [first_s + step_s * index for index in range(num_bins)],
        "plots": plots,
        "last": last,
        "artifact": _artifact(service, now_s),
        "traces": [asdict(span) for span in sources.spans.latest(service.name)],
    }


def _service(service: Service, num_firing: int, now_s: float) -> Json:
    alive = service.alive(now_s)
    known = alive or list(service.instances.values())
    return {
        "name": service.name,
        "versions": sorted({instance.origin.version for instance in known if instance.origin.version}),
        "roles": sorted({instance.origin.role for instance in known if instance.origin.role}),
        "num_instances": len(alive),
        "seen": service.touched_s,
        "num_firing": num_firing,
        "last": _last_values(service),
    }


def _last_values(service: Service) -> dict[str, float | None]:
    return {signal: _last(signal, track) for signal, track in service.history.items()}


def _last(signal: str, track: Track) -> float | None:
    """The value now; of a training that ended, where it ended."""
    values = track.values[-10:] if signal.startswith("train_") else track.values[-1:]
    return next((value for value in reversed(values) if math.isfinite(value)), None)


def _of_instances(
    sources: Sources, service: Service, metric: str, now_s: float
) -> list[tuple[str, Track, float | None]]:
    """A line for each instance, with its value now, where there are several; of a training, for the step it is in."""
    step = training_step(service.alive(now_s) or list(service.instances.values()))
    found = [each for each in sources.series.of(service.name, metric) if _step(each.key.attributes) in ("", step)]
    if len(found) < 2:
        return []
    found = sorted(found, key=lambda each: -each.touched_s)[:MAX_INSTANCES]
    since_s = now_s - NUM_MISSED * service.interval_s
    lines = []
    for each in found:
        last = _last("", each.track) if each.touched_s >= since_s else None
        lines.append((_label(each.key.instance, each.key.attributes), each.track, last))
    return sorted(lines, key=lambda line: line[0])


def _step(attributes: Attributes) -> str:
    return str(dict(attributes).get(names.STEP, ""))


def _label(instance: str, attributes: Attributes) -> str:
    rank = dict(attributes).get(names.RANK)
    return f"rank {rank}" if rank is not None else instance[-12:]


def _binned(track: Track, first_s: float, step_s: float, num_bins: int, *, peak: bool) -> NDArray[np.float64]:
    """The track on the grid; a hole of up to two bins is bridged, as reports come a little early or late."""
    times, values = np.array(track.times), np.array(track.values)
    bins = np.floor((times - first_s) / step_s)
    kept = (bins >= 0) & (bins < num_bins) & np.isfinite(values)
    where, values = bins[kept].astype(int), values[kept]
    grid = np.full(num_bins, np.nan)
    if peak:
        np.fmax.at(grid, where, values)
    else:
        counts = np.bincount(where, minlength=num_bins)
        np.divide(np.bincount(where, values, minlength=num_bins), counts, out=grid, where=counts > 0)
    filled = np.flatnonzero(np.isfinite(grid))
    for left, right in itertools.pairwise(filled):
        if 1 < right - left <= 3:
            grid[left + 1 : right] = grid[left]
    return grid


def _artifact(service: Service, now_s: float) -> list[Json]:
    """A row for each step of making the artifact that is served now, in order, from its gauges."""
    rows: dict[str, Json] = {}

    def row(attributes: Attributes) -> Json:
        step = _step(attributes)
        return rows.setdefault(step, {"step": step, "quality": {}, "metric": "", "size": None, "latency": {}})

    def latest(metric: str) -> list[tuple[Origin, Attributes, float]]:
        return [value for value in service.values(metric, now_s)[:200] if _step(value[1])]

    for _, attributes, value in latest(names.ARTIFACT_QUALITY.name):
        row(attributes)["quality"][str(dict(attributes).get(names.STATISTIC, "value"))] = value
        row(attributes)["metric"] = str(dict(attributes).get(names.QUALITY_METRIC, "quality"))
    for _, attributes, value in latest(names.ARTIFACT_SIZE.name):
        row(attributes)["size"] = value
    for _, attributes, value in latest(names.ARTIFACT_LATENCY.name):
        row(attributes)["latency"][str(dict(attributes).get(names.BATCH_SIZE, ""))] = value
    return sorted(rows.values(), key=lambda r: STEPS.index(r["step"]) if r["step"] in STEPS else len(STEPS))
