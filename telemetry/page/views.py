"""What the page shows, as JSON-ready data: times in Unix seconds, values in base units, None where there is nothing."""

from dataclasses import asdict, dataclass

from telemetry.page.artifact import artifact
from telemetry.page.forecast import full_in_s
from telemetry.page.grid import Grid
from telemetry.page.lines import Line, last_value, of_instances, of_signal, read
from telemetry.page.picture import Picture
from telemetry.page.plots import PLOTS
from telemetry.page.processes import processes
from telemetry.page.sources import Json, Range, Sources
from telemetry.series.service import Service
from telemetry.storage.storage import Storage
from telemetry.watching.decision import State

SPARK_POINTS = 60
"""Points of the small lines beside a service's name."""
SPARKS = ("throughput", "latency_p95", "server_error_ratio", "train_loss")


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All services, their small lines still to be drawn."""

    head: Json
    lines: dict[str, list[Line]]
    shown: Range
    storage: Storage

    def answer(self) -> Json:
        """As JSON-ready data."""
        shown = self.shown
        grid = Grid.over(shown.since_s, shown.until_s, max_points=SPARK_POINTS)
        lines = [line for each in self.lines.values() for line in each]
        points = iter(read(lines, self.storage, grid.first_s, shown.until_s, step_s=grid.step_s))
        services = []
        for service in self.head["services"]:
            drawn = {line.label: grid.draw(next(points), peak=True) for line in self.lines[service["name"]]}
            sparks = {signal: line.values for signal, line in drawn.items() if not line.empty}
            services.append(service | {"sparks": sparks})
        return self.head | {"since": shown.since_s, "until": shown.until_s, "services": services}


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


def overview(sources: Sources, shown: Range) -> Overview:
    """`services`, each with small lines of its main signals over the range."""
    lines = {
        name: [of_signal(name, service, signal, signal) for signal in SPARKS]
        for name, service in sorted(sources.services.items())
    }
    return Overview(head=services(sources), lines=lines, shown=shown, storage=sources.storage)


def alerts(sources: Sources) -> Json:
    """All alerts that are remembered, those that fire first, then the latest."""
    book = sorted(sources.alerts, key=lambda alert: (alert.state is not State.FIRING, -alert.started_s))
    return {"now": sources.clock(), "alerts": [asdict(alert) for alert in book]}


def series(sources: Sources, name: str, shown: Range) -> Picture | None:
    """One service's plots over a range, on one grid, with its processes, its artifact's numbers and latest traces.

    `full_in_s` is when its CPUs, sessions or queues will be used up if the last hour goes on.

    `last` holds the value now of each signal and each line has its own: a signal's is the same in both. A service that
    is not in memory any more is drawn from storage; None where nothing is known of it.
    """
    now_s, service = sources.clock(), sources.services.get(name)
    if service is None and not sources.storage.select(service=name, start_s=shown.since_s, end_s=shown.until_s):
        return None
    plots = []
    for plot in PLOTS:
        lines = [of_signal(name, service, signal, label) for label, signal in plot.lines]
        if plot.per_instance and service:
            lines += of_instances(sources, service, plot.per_instance)
        plots.append((plot, lines))
    interval_s = service.interval_s if service else 1.0
    return Picture(
        head={
            "now": now_s,
            "service": name,
            "instances": processes(service, now_s) if service else [],
            "artifact": artifact(service, now_s) if service else [],
            "traces": [asdict(span) for span in sources.spans.latest(name)],
            "full_in_s": full_in_s(service.history.get("saturation"), now_s) if service else None,
        },
        plots=plots,
        grid=Grid.over(shown.since_s, shown.until_s, interval_s=interval_s, max_points=shown.max_points),
        shown=shown,
        now_s=now_s,
        storage=sources.storage,
        last=_last_values(service) if service else {},
    )


def _last_values(service: Service) -> dict[str, float | None]:
    return {signal: last_value(signal, track) for signal, track in service.history.items()}


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
