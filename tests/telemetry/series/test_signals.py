"""A service's signals, from OTLP messages in simulated time."""

import math

import numpy as np
import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.page import views
from telemetry.page.grid import MAX_POINTS
from telemetry.page.sources import Range
from telemetry.receivers.origin import Peer
from telemetry.series.prices import Prices
from tests.telemetry.traffic import START_S, Clock, Sender, attributes


def run(senders, seconds, *, per_second=20, interval_s=1, durations=None):
    """Report `per_second` requests of each sender every `interval_s`."""
    clock = Clock()
    collector = Collector(clock=clock)
    for at_s in range(interval_s, seconds + 1, interval_s):
        for index, sender in enumerate(senders):
            clock.now_s = START_S + at_s + 0.1 * index
            values = np.full(per_second * interval_s, 0.002) if durations is None else durations
            collector.receive_metrics(sender.request({200: values}, clock.now_s))
        collector.tick()
    return collector, clock


def column(collector, signal, service="digits"):
    return list(collector.services[service].history[signal].values)


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("interval_s", [1, 10, 60])
def test_throughput_is_the_senders_rate_at_any_interval_and_temporality(delta, interval_s):
    collector, _ = run([Sender(delta=delta)], 300, interval_s=interval_s)
    values = column(collector, "throughput")
    assert values[1:] == pytest.approx([20] * (len(values) - 1), rel=0.02)
    assert len(values) == pytest.approx(300 / interval_s, abs=2)


def test_throughput_is_summed_over_instances():
    collector, _ = run([Sender(instance="a"), Sender(instance="b"), Sender(instance="c")], 30)
    assert column(collector, "throughput")[-1] == pytest.approx(60, rel=0.15)
    assert np.mean(column(collector, "throughput")[5:]) == pytest.approx(60, rel=0.02)


def test_a_frame_waits_for_every_instance():
    clock, senders = Clock(), [Sender(instance=name) for name in "abc"]
    collector = Collector(clock=clock)
    for third in range(3, 93):
        clock.now_s = START_S + third // 3 + 0.3 * (third % 3)
        collector.receive_metrics(senders[third % 3].request({200: np.full(20, 0.002)}, clock.now_s))
        collector.tick()
    assert len(column(collector, "throughput")) == pytest.approx(30, abs=2)


def test_latency_quantiles_are_numpys_within_a_bucket():
    durations = np.random.default_rng(0).lognormal(math.log(0.01), 0.5, 2000)
    collector, _ = run([Sender()], 5, durations=durations)
    for name, q in (("latency_p50", 0.5), ("latency_p95", 0.95), ("latency_p99", 0.99)):
        assert column(collector, name)[-1] == pytest.approx(np.quantile(durations, q), rel=0.35)


def test_a_dead_replica_leaves_the_sums():
    collector, clock = run([Sender(instance="a"), Sender(instance="b")], 20)
    survivor = Sender(instance="a", start_s=clock.now_s)
    for _ in range(10):
        clock.now_s += 1
        collector.receive_metrics(survivor.request({200: np.full(20, 0.002)}, clock.now_s))
        collector.tick()
    assert column(collector, "throughput")[10] == pytest.approx(40, rel=0.15)
    assert column(collector, "throughput")[-1] == pytest.approx(20, rel=0.02)
    assert column(collector, "cpu")[-1] == pytest.approx(0.3)


def test_signals_end_with_their_senders():
    collector, clock = run([Sender()], 20)
    for _ in range(100):
        clock.now_s += 1
        collector.tick()
    assert math.isnan(column(collector, "throughput")[-1])
    assert sum(map(math.isnan, column(collector, "throughput"))) == 1
    assert views.services(collector.sources)["services"][0]["num_instances"] == 0


def test_error_shares_follow_status_and_error_type():
    clock, sender = Clock(), Sender()
    collector = Collector(clock=clock)
    for at_s in (1, 2):
        clock.now_s = START_S + at_s
        statuses = {200: 60, 400: 20, 404: 10, 500: 5, 503: 5}
        collector.receive_metrics(sender.request({s: np.full(n, 0.002) for s, n in statuses.items()}, clock.now_s))
    assert column(collector, "client_error_ratio")[-1] == pytest.approx(0.3)
    assert column(collector, "server_error_ratio")[-1] == pytest.approx(0.1)


def test_a_status_that_is_no_number_ends_nothing():
    clock, sender = Clock(), Sender()
    collector = Collector(clock=clock)
    for at_s in (1, 2):
        clock.now_s = START_S + at_s
        statuses = {200: 60, math.inf: 20, "teapot": 20}
        collector.receive_metrics(sender.request({s: np.full(n, 0.002) for s, n in statuses.items()}, clock.now_s))
    assert column(collector, "throughput")[-1] == pytest.approx(100)
    assert column(collector, "client_error_ratio")[-1] == 0


def test_a_gpu_that_two_processes_report_counts_once():
    senders = [Sender(instance=name) for name in "ab"]
    for sender in senders:
        gpu = otlp.Metric(name="hw.gpu.utilization")
        gpu.gauge.data_points.add(time_unix_nano=int(START_S * 1e9), as_double=0.8, attributes=attributes(hw__id="0"))
        memory = otlp.Metric(name="hw.gpu.memory.usage", unit="By")
        memory.gauge.data_points.add(time_unix_nano=int(START_S * 1e9), as_int=2**30, attributes=attributes(hw__id="0"))
        sender.extra = [gpu, memory]
    collector, _ = run(senders, 5)
    assert column(collector, "gpu")[-1] == 0.8
    assert column(collector, "gpu_memory")[-1] == 2**30


def test_milliseconds_become_seconds():
    clock, sender = Clock(), Sender()
    collector = Collector(clock=clock)
    for at_s in (1, 2):
        clock.now_s = START_S + at_s
        request = sender.request({200: np.full(100, 2.0)}, clock.now_s)
        request.resource_metrics[0].scope_metrics[0].metrics[-1].unit = "ms"
        collector.receive_metrics(request)
    assert 0.001 <= column(collector, "latency_p50")[-1] <= 0.0025


def gauge(name, value, at_s, **named):
    metric = otlp.Metric(name=name)
    metric.gauge.data_points.add(time_unix_nano=int(at_s * 1e9), as_double=value, attributes=attributes(**named))
    return metric


def test_gpu_0_of_two_hosts_is_two_gpus():
    senders = [Sender(instance=name, resource={"host.name": f"host-{name}"}) for name in "ab"]
    for sender in senders:
        sender.extra = [gauge("hw.gpu.memory.usage", 2.0**30, START_S, hw__id="0")]
    collector, _ = run(senders, 5)
    assert column(collector, "gpu_memory")[-1] == 2 * 2**30


@pytest.mark.parametrize("peers", [[Peer("h", "1"), Peer("h", "2")], [Peer("proxy", "1")] * 2, [Peer("h")] * 2])
def test_processes_without_a_name_are_counted_each(peers):
    """Two connections, one proxy's connection, connections that are not kept: 2 x 50 requests per second are 100."""
    clock = Clock()
    collector = Collector(clock=clock)
    senders = [Sender(instance="", start_s=START_S + 0.001 * at) for at in range(2)]
    for at_s in range(1, 31):
        for at, (sender, peer) in enumerate(zip(senders, peers, strict=True)):
            clock.now_s = START_S + at_s + 0.1 * at
            collector.receive_metrics(sender.request({200: np.full(50, 0.002)}, clock.now_s), peer)
        collector.tick()
    assert column(collector, "throughput")[3:] == pytest.approx([100] * (len(column(collector, "throughput")) - 3))
    assert len(collector.services["digits"].alive(clock.now_s)) == 2
    assert column(collector, "cpu")[-1] == pytest.approx(0.6)


def test_a_nameless_process_that_connects_anew_is_counted_once():
    clock, sender = Clock(), Sender(instance="")
    collector = Collector(clock=clock)
    for at_s in range(1, 31):
        clock.now_s = START_S + at_s
        peer = Peer("h", str(40_000 + at_s))
        collector.receive_metrics(sender.request({200: np.full(50, 0.002)}, clock.now_s), peer)
    assert column(collector, "throughput")[3:] == pytest.approx([50] * (len(column(collector, "throughput")) - 3))
    assert len(collector.services["digits"].instances) == 1


def test_two_libraries_that_use_one_metric_name_are_two_series():
    clock, sender = Clock(), Sender()
    collector = Collector(clock=clock)
    for at_s in range(1, 6):
        clock.now_s = START_S + at_s
        request = sender.request({200: np.full(10, 0.002)}, clock.now_s)
        other = request.resource_metrics[0].scope_metrics.add()
        other.CopyFrom(request.resource_metrics[0].scope_metrics[0])
        other.scope.name = "another library"
        for point in other.metrics[-1].histogram.data_points:
            point.start_time_unix_nano += 5
        collector.receive_metrics(request)
    assert column(collector, "throughput")[-1] == pytest.approx(20)


def test_one_service_name_in_two_namespaces_is_two_services():
    collector, _ = run([Sender(), Sender(resource={"service.namespace": "shop"})], 5)
    assert {name: column(collector, "throughput", name)[-1] for name in collector.services} == pytest.approx(
        {"digits": 20, "shop/digits": 20}
    )


@pytest.mark.parametrize("delta", [False, True])
def test_one_time_an_hour_ahead_freezes_nothing(delta, caplog):
    clock, sender = Clock(), Sender(delta=delta)
    collector = Collector(clock=clock)
    for at_s in range(1, 61):
        clock.now_s = START_S + at_s
        request = sender.request({200: np.full(20, 0.002)}, clock.now_s)
        if at_s == 30:
            for metric in request.resource_metrics[0].scope_metrics[0].metrics:
                for point in getattr(metric, metric.WhichOneof("data")).data_points:
                    point.time_unix_nano += 3600 * 10**9
        collector.receive_metrics(request)
        collector.tick()
    assert len(column(collector, "throughput")) == pytest.approx(60, abs=2)
    assert column(collector, "throughput")[-25:] == pytest.approx([20] * 25)
    assert column(collector, "cpu")[-1] == pytest.approx(0.3)
    (record,) = caplog.records
    assert record.getMessage() == (
        "the clock of digits, instance replica-1, must agree with the collector's, got +3600 s; the collector's is used"
    )
    assert collector.series.num_skewed == 0


@pytest.mark.parametrize("ahead_s", [3600, -3600, 60])
@pytest.mark.parametrize("delta", [False, True])
def test_a_sender_whose_clock_is_off_is_counted_by_the_collectors(ahead_s, delta):
    collector, clock = run([Sender(delta=delta, clock_s=ahead_s)], 30)
    assert column(collector, "throughput")[2:] == pytest.approx([20] * (len(column(collector, "throughput")) - 2))
    assert collector.series.num_skewed == views.services(collector.sources)["num_skewed"] == 1
    (stream,) = collector.series.plotted(lambda key: key.metric == "process.cpu.utilization")
    assert stream.track.times[-1] == pytest.approx(clock.now_s)


def test_a_delta_sender_that_goes_idle_counts_nothing():
    clock, sender = Clock(), Sender(delta=True)
    collector = Collector(clock=clock)
    for at_s in range(1, 31):
        clock.now_s = START_S + at_s
        collector.receive_metrics(sender.request({200: np.full(20, 0.002)} if at_s <= 20 else {}, clock.now_s))
        collector.tick()
    assert column(collector, "throughput")[10:18] == pytest.approx([20] * 8)
    assert column(collector, "throughput")[-7:] == [0] * 7


def losses(steps, at_s):
    """What a worker has counted: (step, samples so far, last loss) of each step it has ever trained."""
    samples = otlp.Metric(name="trimtab.train.samples", unit="{sample}")
    samples.sum.is_monotonic, samples.sum.aggregation_temporality = True, otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
    for step, num, _ in steps:
        samples.sum.data_points.add(
            start_time_unix_nano=int(START_S * 1e9),
            time_unix_nano=int(at_s * 1e9),
            as_int=num,
            attributes=attributes(trimtab__step=step),
        )
    return [samples, *(gauge("trimtab.train.loss", loss, at_s, trimtab__step=step) for step, _, loss in steps)]


def test_a_loss_without_any_count_is_shown_all_the_same():
    clock, worker = Clock(), Sender()
    collector = Collector(clock=clock)
    for _ in range(3):
        clock.now_s += 1
        worker.extra = [gauge("trimtab.train.loss", 0.7, clock.now_s, trimtab__step="teacher")]
        collector.receive_metrics(worker.request({}, clock.now_s))
    assert column(collector, "train_loss")[-1] == pytest.approx(0.7)


def test_the_loss_is_that_of_the_step_that_is_trained_now():
    clock, workers = Clock(), [Sender(instance=name) for name in "ab"]
    collector = Collector(clock=clock)
    for at_s in range(1, 11):
        for worker in workers:
            clock.now_s += 0.5
            is_second = at_s > 5
            steps = [("teacher", 10 * min(at_s, 5), 2.0), *([("distill", 10 * at_s, 0.5)] if is_second else [])]
            worker.extra = losses(steps, clock.now_s)
            collector.receive_metrics(worker.request({}, clock.now_s))
        collector.tick()
    assert column(collector, "train_loss")[4] == 2.0
    assert column(collector, "train_loss")[-1] == 0.5
    shown = views.series(collector.sources, "digits", Range(since_s=START_S, until_s=clock.now_s)).answer()
    (plot,) = [plot for plot in shown["plots"] if plot["key"] == "loss"]
    assert [line["last"] for line in plot["lines"]] == [0.5] * 3
    assert shown["last"]["train_loss"] == 0.5


@pytest.mark.parametrize("seconds", [300, 900, 3600])
def test_a_plot_has_at_most_600_points_and_keeps_the_peak(seconds):
    clock, sender = Clock(), Sender()
    collector = Collector(clock=clock)
    for at_s in range(1, seconds):
        clock.now_s = START_S + at_s
        duration = 5.0 if at_s == seconds // 2 else 0.002
        collector.receive_metrics(sender.request({200: np.full(5, duration)}, clock.now_s))
    whole = Range(since_s=clock.now_s - seconds, until_s=clock.now_s)
    shown = views.series(collector.sources, "digits", whole).answer()
    (latency,) = [plot for plot in shown["plots"] if plot["key"] == "latency"]
    values = np.array(latency["lines"][1]["values"], float)
    assert len(values) == len(shown["times"]) <= MAX_POINTS + 1
    assert np.nanmax(values) > 2.5
    assert np.isfinite(values[5:-1]).all()


def test_a_thousand_requests_cost_what_the_processes_use_and_nothing_is_told_without_prices():
    found = {}
    for name, prices in (("with", Prices(cpu_hour=0.36, memory_gib_hour=0.036)), ("without", Prices())):
        clock = Clock()
        collector = Collector(CollectorConfig(prices=prices), clock=clock)
        sender = Sender()
        for at_s in range(1, 30):
            clock.now_s = START_S + at_s
            sender.extra = [
                gauge("trimtab.process.cpus", 4, clock.now_s),
                gauge("process.memory.usage", 2 * 2.0**30, clock.now_s),
            ]
            collector.receive_metrics(sender.request({200: np.full(20, 0.002)}, clock.now_s))
            collector.tick()
        found[name] = column(collector, "cost_per_1000")[-1]
    used = 0.3 * 4 * 0.36 + 2 * 0.036  # of CPU and memory, an hour
    assert found["with"] == pytest.approx(used * 1000 / (20 * 3600), rel=0.05)
    assert math.isnan(found["without"])


def test_saturation_is_of_the_fullest_process_and_of_what_it_has_least_of():
    senders = [Sender(instance="a"), Sender(instance="b")]
    clock = Clock()
    collector = Collector(clock=clock)
    for at_s in range(1, 10):
        for index, sender in enumerate(senders):
            clock.now_s = START_S + at_s + 0.1 * index
            taken = {"queue": 0.2 + 0.5 * index, "session": 0.4}
            points = [gauge("trimtab.saturation", x, clock.now_s, trimtab__resource=name) for name, x in taken.items()]
            sender.extra = points
            collector.receive_metrics(sender.request({}, clock.now_s))
        collector.tick()
    assert column(collector, "saturation")[-1] == pytest.approx(0.7)
