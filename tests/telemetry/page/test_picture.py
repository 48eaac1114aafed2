"""Lines over any range: from memory, before that from storage, each with its least and largest values."""

from dataclasses import replace

import numpy as np
import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.collector import Collector
from telemetry.page import processes, views
from telemetry.page.grid import Grid
from telemetry.page.sources import Range
from telemetry.page.stored import signal_key, stored
from telemetry.receivers.points import Scope
from telemetry.series.stream import Key
from telemetry.storage.layout import Layout
from telemetry.storage.points import Points
from telemetry.storage.storage import Storage
from tests.telemetry.traffic import START_S, Clock, Sender

DAY_S = 86400.0
CPU = Key("digits", "replica-1", Scope(), "process.cpu.utilization", ())


def points(times, values):
    values = np.asarray(values, float)
    return Points(np.asarray(times, float), values, values, values)


def test_a_bin_keeps_its_mean_its_least_and_its_largest_value():
    grid = Grid(first_s=0, step_s=10, num=3)
    drawn = grid.draw(points(np.arange(30), np.arange(30) % 10))
    assert drawn.values.tolist() == [4.5] * 3
    assert drawn.low.tolist() == [0] * 3
    assert drawn.high.tolist() == [9] * 3
    assert grid.draw(points(np.arange(30), np.arange(30) % 10), peak=True).values.tolist() == [9] * 3


def test_what_is_not_finite_is_no_value_and_short_holes_are_bridged():
    grid = Grid(first_s=0, step_s=1, num=8)
    drawn = grid.draw(points([0, 1, 2, 3, 7], [1, np.nan, np.inf, 4, 5]))
    assert drawn.values.tolist()[:4] == [1, 1, 1, 4]
    assert np.isnan(drawn.values[4:7]).all(), "three bins are a hole"
    assert drawn.values[7] == 5


def test_what_comes_every_half_minute_is_a_line_and_has_a_value_now():
    grid = Grid(first_s=0, step_s=1, num=100)
    drawn = grid.draw(points([0, 30, 60, 90], [1, 2, 3, 4]), interval_s=30)
    assert np.isfinite(drawn.values[:91]).all()
    assert np.isnan(drawn.values[91:]).all()
    clock = Clock()
    collector, sender = Collector(clock=clock), Sender()
    for at in range(75):
        clock.now_s += 1
        seldom = otlp.Metric(name="process.open_file_descriptor.limit")
        seldom.gauge.data_points.add(time_unix_nano=int(clock.now_s * 1e9), as_int=1024)
        sender.extra = [seldom] if at % 30 == 0 else []
        collector.receive_metrics(sender.request({}, clock.now_s))
    service = collector.services["digits"]
    shown = Range(since_s=START_S, until_s=clock.now_s)
    answer = processes.process(collector.sources, service, service.instances["replica-1"], shown).answer()
    (plot,) = [plot for plot in answer["plots"] if plot["key"] == seldom.name]
    assert plot["lines"][0]["last"] == 1024


@pytest.mark.parametrize("seed", range(3))
def test_any_grid_covers_its_range_with_no_more_points_than_asked_for(seed):
    rng = np.random.default_rng(seed)
    for _ in range(50):
        start_s, length_s = START_S + rng.uniform(0, 1e6), 10 ** rng.uniform(0, 7)
        grid = Grid.over(start_s, start_s + length_s, max_points=400)
        assert grid.num <= 402
        assert grid.first_s <= start_s
        assert start_s + length_s < grid.first_s + grid.step_s * grid.num
        assert grid.first_s % grid.step_s == 0, "a moving range keeps its bins"


@pytest.fixture
def seen():
    """A service that has reported for a minute, of which storage knows two days."""
    clock = Clock()
    collector, sender = Collector(clock=clock), Sender()
    for hour in range(48):
        start_s = START_S - 3600.0 * (48 - hour)
        signals = {"throughput": 200.0 if hour < 24 else 100.0, "throughput.low": 50.0, "throughput.high": 150.0}
        values = {signal_key("digits", signal): value for signal, value in signals.items()} | {CPU: 0.7}
        for key, value in values.items():
            number = collector.storage.series_id(key, "gauge")
            collector.storage.append(np.full(60, number), start_s + np.arange(0, 3600, 60.0), np.full(60, value))
        collector.storage.checkpoint(start_s + 3599)
        collector.storage.flush()  # the hours before are merged, as they would be by then
    for _ in range(60):
        clock.now_s += 1
        collector.receive_metrics(sender.request({200: np.full(20, 0.002)}, clock.now_s))
        collector.tick()
    return collector


def throughput(collector, **changes):
    now_s = collector.sources.clock()
    shown = replace(Range(since_s=now_s - DAY_S, until_s=now_s), **changes)
    answer = views.series(collector.sources, "digits", shown).answer()
    (plot,) = [plot for plot in answer["plots"] if plot["key"] == "throughput"]
    return answer, plot["lines"][0]


def test_before_what_is_in_memory_a_line_goes_on_from_storage(seen):
    answer, line = throughput(seen)
    assert line["values"][len(line["values"]) // 2] == 100
    assert line["values"][-1] == line["last"] == answer["last"]["throughput"] == pytest.approx(20)
    assert np.isfinite(line["values"][2:]).all()


def test_the_day_before_lies_beside_it_and_what_was_expected_around_it(seen):
    _, line = throughput(seen, compare_s=DAY_S)
    assert line["before"][len(line["before"]) // 2] == 200
    middle = len(line["values"]) // 2
    assert (line["expected"]["low"][middle], line["expected"]["high"][middle]) == (50, 150)


def test_of_a_range_that_is_over_the_last_value_is_the_one_at_its_end(seen):
    answer, line = throughput(seen, since_s=START_S - 2 * DAY_S, until_s=START_S - DAY_S - 60)
    assert line["last"] == answer["last"]["throughput"] == 200


def test_a_service_that_memory_has_forgotten_is_drawn_from_storage(seen):
    del seen.services["digits"]
    answer, line = throughput(seen)
    assert answer["instances"] == []
    assert np.nanmax(line["values"]) == 100
    assert views.series(seen.sources, "nobody", Range(since_s=0, until_s=START_S)) is None


def test_a_process_goes_on_from_storage_too(seen):
    service = seen.services["digits"]
    shown = Range(since_s=START_S - 600, until_s=START_S - 300)
    answer = processes.process(seen.sources, service, service.instances["replica-1"], shown).answer()
    (plot,) = [plot for plot in answer["plots"] if plot["key"] == "process.cpu.utilization"]
    assert plot["unit"] == "%"
    assert plot["lines"][0]["last"] == 0.7


def test_a_stored_count_is_shown_as_its_rate_and_a_distribution_as_its_mean():
    storage, scope = Storage(None), Scope("test")
    count, spread = (Key("digits", "a", scope, metric, ()) for metric in ("samples", "duration"))
    layout = Layout.explicit((1.0, 2.0))
    numbers = [storage.series_id(count, "counter"), storage.series_id(spread, "histogram")]
    for at in range(5):
        storage.append(np.array(numbers[:1]), START_S + 10 * at, np.array([70.0 * at]))
        storage.append_buckets(
            np.array(numbers[1:]), START_S + 10 * at, layout, np.array([[at, at, 0]]), np.array([3.0 * at])
        )
    found = stored(storage, [count, spread], START_S, START_S + 100, step_s=1)
    assert found[count].values.tolist() == [7] * 4
    assert found[spread].values.tolist() == [1.5] * 4
