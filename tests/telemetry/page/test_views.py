"""What the page shows, from OTLP messages in simulated time."""

import numpy as np
import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.collector import Collector
from telemetry.page import views
from tests.telemetry.traffic import START_S, Clock, Sender, Steady, attributes, replay


def sources(collector, clock):
    return views.Sources(
        services=collector.services,
        series=collector.series,
        alerts=collector.alerts,
        spans=collector.spans,
        clock=clock,
    )


def sizes(steps, at_s):
    metric = otlp.Metric(name="trimtab.artifact.size", unit="By")
    for step, size in steps.items():
        metric.gauge.data_points.add(
            time_unix_nano=int(at_s * 1e9), as_double=size, attributes=attributes(trimtab__step=step)
        )
    return [metric]


def report(collector, clock, sender, version, steps):
    sender.resource = {"service.version": version}
    sender.extra = sizes(steps, clock.now_s)
    collector.receive_metrics(sender.request({}, clock.now_s))


def rows(collector, clock):
    shown = views.series(sources(collector, clock), collector.services["digits"], START_S)
    return {row["step"]: row["size"] for row in shown["artifact"]}


OLD, NEW = {"teacher": 9, "prune": 5, "quantize": 2}, {"teacher": 9, "distill": 4}


def test_the_artifact_table_shows_one_version_the_one_served_last():
    clock, replicas = Clock(), [Sender(instance=name) for name in "ab"]
    collector = Collector(clock=clock)
    for replica in replicas:
        clock.now_s += 0.5
        report(collector, clock, replica, "1", OLD)
    assert rows(collector, clock) == OLD
    clock.now_s += 1
    report(collector, clock, replicas[0], "2", NEW)
    assert rows(collector, clock) == NEW, "though the other replica still has the version before"
    clock.now_s += 1
    report(collector, clock, replicas[1], "2", NEW)
    assert rows(collector, clock) == NEW


def test_of_a_version_whose_replicas_ended_nothing_is_shown_while_another_lives():
    clock = Clock()
    collector = Collector(clock=clock)
    report(collector, clock, Sender(instance="old"), "1", OLD)
    clock.now_s += 400
    report(collector, clock, Sender(instance="new"), "2", NEW)
    assert rows(collector, clock) == NEW
    clock.now_s += 400
    assert rows(collector, clock) == NEW, "and the last one's stays once all have ended"


@pytest.mark.parametrize("range_s", [300, 3600])
def test_a_signals_value_now_is_the_same_beside_its_plot_and_on_its_card(range_s):
    clock = Clock()
    collector, _ = replay(Steady(rate=50).second, seconds=905, seed=3)
    clock.now_s = START_S + 905.96
    shown = views.series(sources(collector, clock), collector.services["digits"], clock.now_s - range_s)
    signals = {(plot.key, label): signal for plot in views.PLOTS for label, signal in plot.lines}
    lasts = {signals[plot["key"], line["label"]]: line["last"] for plot in shown["plots"] for line in plot["lines"]}
    assert {signal: shown["last"][signal] for signal in lasts} == lasts
    history = collector.services["digits"].history
    assert lasts["latency_p95"] == history["latency_p95"].values[-1]
    if range_s == 3600:
        latency = next(plot for plot in shown["plots"] if plot["key"] == "latency")
        drawn = np.array(latency["lines"][1]["values"], float)
        assert drawn[np.isfinite(drawn)][-1] != lasts["latency_p95"], "the claim is about something"
