"""What the page shows, from OTLP messages in simulated time."""

import numpy as np
import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.collector import Collector
from telemetry.page import views
from telemetry.page.plots import PLOTS
from telemetry.page.sources import Range
from tests.telemetry.traffic import Clock, Sender, Steady, attributes, replay


def shown(collector, clock, range_s=900):
    whole = Range(since_s=clock() - range_s, until_s=clock())
    return views.series(collector.sources, "digits", whole).answer()


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
    return {row["step"]: row["size"] for row in shown(collector, clock)["artifact"]}


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
    collector, _ = replay(Steady(rate=50).second, seconds=905, seed=3)
    answer = shown(collector, collector.sources.clock, range_s)
    signals = {(plot.key, label): signal for plot in PLOTS for label, signal in plot.lines}
    lines = {signals[plot["key"], line["label"]]: line for plot in answer["plots"] for line in plot["lines"]}
    lasts = {signal: line["last"] for signal, line in lines.items()}
    ends = {signal: line["values"][np.isfinite(line["values"])][-1] for signal, line in lines.items()}
    assert {signal: answer["last"][signal] for signal in lasts} == lasts == ends
    history = collector.services["digits"].history
    assert lasts["latency_p95"] == history["latency_p95"].values[-1]
    if range_s == 3600:
        high = lines["latency_p95"]["high"]
        assert high[np.isfinite(high)][-1] != lasts["latency_p95"], "the claim is about something"
