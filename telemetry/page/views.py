"""What the page shows, as JSON-ready data: times in Unix seconds, values in base units, None where there is nothing."""

from dataclasses import asdict

import numpy as np

from telemetry.page.artifact import artifact
from telemetry.page.grid import Grid
from telemetry.page.lines import drawn, last_value, of_instances, of_signal
from telemetry.page.plots import PLOTS, Plot
from telemetry.page.processes import processes
from telemetry.page.sources import Json, Range, Sources
from telemetry.series.service import Service
from telemetry.watching.decision import State

SPARK_POINTS = 60
"""Points of the small lines beside a service's name."""
SPARKS = ("throughput", "latency_p95", "server_error_ratio", "train_loss")


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


def overview(sources: Sources, shown: Range) -> Json:
    """`services`, each with small lines of its main signals over the range."""
    answer = services(sources)
    grid = Grid.over(shown.since_s, shown.until_s, max_points=SPARK_POINTS)
    for service in answer["services"]:
        service["sparks"] = _sparks(sources.services[service["name"]], grid)
    return answer | {"since": shown.since_s, "until": shown.until_s}


def alerts(sources: Sources) -> Json:
    """All alerts that are remembered, those that fire first, then the latest."""
    book = sorted(sources.alerts, key=lambda alert: (alert.state is not State.FIRING, -alert.started_s))
    return {"now": sources.clock(), "alerts": [asdict(alert) for alert in book]}


def series(sources: Sources, service: Service, shown: Range) -> Json:
    """One service's plots over a range, on one grid, with its processes, its artifact's numbers and latest traces.

    `last` holds the value now of each signal and each line has its own: a signal's is the same in both.
    """
    now_s = sources.clock()
    grid = Grid.over(shown.since_s, shown.until_s, interval_s=service.interval_s, max_points=shown.max_points)
    plots, last = [], {signal: last_value(signal, track) for signal, track in service.history.items()}
    for plot in PLOTS:
        lines = [of_signal(service, signal, label, shown, now_s) for label, signal in plot.lines]
        known = [line for line in lines if line is not None]
        last |= {line.signal: line.last for line in known}
        if plot.per_instance:
            known += of_instances(sources, service, plot.per_instance, shown)
        if columns := drawn(known, grid, shown, peak=plot.peak):
            plots.append(as_json(plot, columns))
    return {
        "now": now_s,
        "since": shown.since_s,
        "until": shown.until_s,
        "service": service.name,
        "times": grid.times(),
        "plots": plots,
        "last": last,
        "instances": processes(service, now_s),
        "artifact": artifact(service, now_s),
        "traces": [asdict(span) for span in sources.spans.latest(service.name)],
    }


def as_json(plot: Plot, columns: list[Json]) -> Json:
    """A plot and its lines."""
    return {"key": plot.key, "title": plot.title, "unit": plot.unit, "lines": columns}


def _sparks(service: Service, grid: Grid) -> Json:
    sparks = {}
    for signal in SPARKS:
        if track := service.history.get(signal):
            line = grid.draw(np.array(track.times), np.array(track.values), peak=signal != "throughput")
            if not line.empty:
                sparks[signal] = line.values
    return sparks


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
        "last": {signal: last_value(signal, track) for signal, track in service.history.items()},
    }
