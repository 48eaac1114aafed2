"""The processes of a service, one of them with all it reports, and what runs on a node."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from telemetry import conventions as names
from telemetry.page.grid import Grid
from telemetry.page.lines import MAX_INSTANCES, of_stream, short
from telemetry.page.picture import Picture
from telemetry.page.plots import Plot
from telemetry.page.sources import Json, Range, Sources
from telemetry.series.instance import Instance
from telemetry.series.recording import Plotted
from telemetry.series.service import Service
from telemetry.series.stream import Key

MAX_PROCESSES = 200
"""Rows of one table; the latest to report are shown."""
OF_NODES = ("process.", "system.", "hw.")
"""What the metrics of a node's own resources begin with."""
ELSEWHERE = ("trimtab.artifact.", names.DRIFT_ROWS.name, names.FIDELITY_ROWS.name, names.ACCURACY_ROWS.name)
"""What the metrics begin with that are shown otherwise than as lines: how a model was made, what its rows are."""
MAX_LABEL = 40

INSTRUMENTS = {each.name: each for each in vars(names).values() if isinstance(each, names.Instrument)}
_UNITS = {"s": "s", "By": "By"}


def processes(service: Service, now_s: float) -> list[Json]:
    """A row for each process of a service, those alive first."""
    rows = [_row(service, instance, now_s) for instance in service.instances.values()]
    return sorted(rows, key=lambda row: (not row["alive"], -row["seen"], row["instance"]))[:MAX_PROCESSES]


def process(sources: Sources, service: Service, instance: Instance, shown: Range) -> Picture:
    """One process: all its metrics over the range."""
    now_s = sources.clock()
    name = service.name, instance.origin.instance
    found = sources.series.plotted(
        lambda key: (key.service, key.instance) == name and not key.metric.startswith(ELSEWHERE)
    )
    head = {"now": now_s, "process": _row(service, instance, now_s)}
    return _picture(sources, head, found, _told_apart(found), shown, service.interval_s)


def nodes(sources: Sources) -> list[Json]:
    """A row for each node that something runs on."""
    now_s = sources.clock()
    on: dict[str, list[tuple[Service, Instance]]] = defaultdict(list)
    for service in sources.services.values():
        for instance in service.alive(now_s):
            on[instance.origin.host].append((service, instance))
    return [
        {
            "node": host,
            "num_instances": len(there),
            "services": sorted({service.name for service, _ in there}),
            "cpu": _total(there, names.PROCESS_CPU_UTILIZATION.name),
            "memory": _total(there, names.PROCESS_MEMORY_USAGE.name),
        }
        for host, there in sorted(on.items())
        if host
    ]


def node(sources: Sources, host: str, shown: Range) -> Picture | None:
    """One node: the processes on it and what they take, None where nothing has reported from it."""
    now_s = sources.clock()
    there = [
        (service, instance)
        for service in sources.services.values()
        for instance in service.instances.values()
        if instance.origin.host == host
    ]
    if not there:
        return None
    known = {(service.name, instance.origin.instance) for service, instance in there}
    found = sources.series.plotted(lambda key: (key.service, key.instance) in known and key.metric.startswith(OF_NODES))
    rows = sorted((_row(*each, now_s) for each in there), key=lambda row: (not row["alive"], row["service"]))
    interval_s = max(service.interval_s for service, _ in there)
    head = {"now": now_s, "node": host, "processes": rows[:MAX_PROCESSES]}
    return _picture(sources, head, found, lambda key: f"{key.service} {short(key.instance)}", shown, interval_s)


def _row(service: Service, instance: Instance, now_s: float) -> Json:
    requests = instance.rates.get("requests")
    alive = instance.ends_s() >= now_s
    return {
        "service": service.name,
        "instance": instance.origin.instance,
        "version": instance.origin.version,
        "role": instance.origin.role,
        "node": instance.origin.host,
        "alive": alive,
        "seen": instance.seen_s,
        "throughput": requests.per_s if requests and alive else None,
        "cpu": _gauge(instance, names.PROCESS_CPU_UTILIZATION.name) if alive else None,
        "memory": _gauge(instance, names.PROCESS_MEMORY_USAGE.name) if alive else None,
    }


def _gauge(instance: Instance, metric: str) -> float | None:
    values = instance.gauges.get(metric)
    return sum(values.values()) if values else None


def _total(there: Iterable[tuple[Service, Instance]], metric: str) -> float | None:
    values = [value for _, instance in there if (value := _gauge(instance, metric)) is not None]
    return sum(values) if values else None


def _picture(
    sources: Sources,
    head: Json,
    streams: list[Plotted],
    label: Callable[[Key], str],
    shown: Range,
    interval_s: float,
) -> Picture:
    """A plot for each metric, in the order of the conventions, then of the names."""
    now_s = sources.clock()
    metrics: dict[str, list[Plotted]] = defaultdict(list)
    for stream in streams:
        metrics[stream.key.metric].append(stream)
    order = {name: at for at, name in enumerate(INSTRUMENTS)}
    plots = []
    for metric in sorted(metrics, key=lambda name: (order.get(name, len(order)), name)):
        latest = sorted(metrics[metric], key=lambda stream: -stream.touched_s)[:MAX_INSTANCES]
        lines = [of_stream(each, label(each.key), interval_s) for each in latest]
        plot = Plot(key=metric, title=_title(metric), unit=_unit(metric), lines=())
        plots.append((plot, sorted(lines, key=lambda line: line.label)))
    return Picture(
        head=head,
        plots=plots,
        grid=Grid.over(shown.since_s, shown.until_s, interval_s=interval_s, max_points=shown.max_points),
        shown=shown,
        now_s=now_s,
        storage=sources.storage,
    )


def _title(metric: str) -> str:
    instrument = INSTRUMENTS.get(metric)
    if instrument is None:
        return metric
    first = instrument.description.partition(".")[0].partition(";")[0].partition(",")[0]
    return f"{first}, {'per second' if instrument.kind == 'counter' else 'mean'}" if _is_shown(instrument) else first


def _is_shown(instrument: names.Instrument) -> bool:
    """Whether the line shows something else than the value that was sent: a count's rate, a distribution's mean."""
    return instrument.kind in ("counter", "histogram")


def _unit(metric: str) -> str:
    instrument = INSTRUMENTS.get(metric)
    if instrument is None:
        return ""
    if instrument.kind == "counter":
        return "/s"
    return "%" if metric.endswith(".utilization") else _UNITS.get(instrument.unit, "")


def _told_apart(streams: list[Plotted]) -> Callable[[Key], str]:
    """Names a series by those of its attributes in which the series of its metric differ."""
    seen: dict[tuple[str, str], set[object]] = defaultdict(set)
    counts: dict[str, int] = defaultdict(int)
    for stream in streams:
        counts[stream.key.metric] += 1
        for name, value in stream.key.attributes:
            seen[stream.key.metric, name].add(value)

    def label(key: Key) -> str:
        differing = [
            f"{value}"
            for name, value in key.attributes
            if len(seen[key.metric, name]) > 1 or name in (names.STATUS_CODE, names.ERROR_TYPE)
        ]
        return " ".join(differing)[:MAX_LABEL] or "value"

    return label
