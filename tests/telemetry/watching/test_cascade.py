"""The share of a cascade that goes to its teacher, and what of that is not answered: a series, and an alert where it
rises. OTLP messages in simulated time."""

from dataclasses import replace

import numpy as np
import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry import conventions
from telemetry.collector import Collector
from telemetry.page import views
from telemetry.page.sources import Range
from telemetry.watching.alerts import Alert
from tests.telemetry.traffic import START_S, Clock, Sender, attributes

NUM_ROWS = 200
EXPECTED = 0.2
CHANGES_S, ENDS_S = 60, 90


def replay(*, sent: float, unanswered: float = 0.0, seed: int = 0) -> tuple[Collector, list[Alert]]:
    """A fifth of the rows is sent on, and all of that answered; after a minute it is `sent` and `unanswered`."""
    random, clock, sender = np.random.default_rng(seed), Clock(), Sender()
    collector = Collector(clock=clock)
    totals = {"student": 0, "teacher": 0, "unsure_student": 0}
    for at_s in range(1, ENDS_S):
        has_changed = at_s > CHANGES_S
        num_sent = int(random.binomial(NUM_ROWS, sent if has_changed else EXPECTED))
        num_unanswered = int(random.binomial(num_sent, unanswered if has_changed else 0.0))
        totals["student"] += NUM_ROWS - num_sent
        totals["teacher"] += num_sent - num_unanswered
        totals["unsure_student"] += num_unanswered
        clock.now_s = START_S + at_s
        rows = otlp.Metric(name=conventions.CASCADE_ROWS.name)
        rows.sum.is_monotonic = True
        rows.sum.aggregation_temporality = otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
        for who, num in totals.items():
            rows.sum.data_points.add(
                attributes=attributes(trimtab__cascade__answered_by=who),
                start_time_unix_nano=int(START_S * 1e9),
                time_unix_nano=int(clock.now_s * 1e9),
                as_double=num,
            )
        expected = otlp.Metric(name=conventions.CASCADE_EXPECTED.name)
        expected.gauge.data_points.add(time_unix_nano=int(clock.now_s * 1e9), as_double=EXPECTED)
        sender.extra = [rows, expected]
        collector.receive_metrics(sender.request({200: np.full(20, 0.002)}, clock.now_s))
        collector.tick()
    return collector, list(collector.alerts)


def test_the_share_is_a_series_beside_the_one_that_was_measured() -> None:
    collector, alerts = replay(sent=EXPECTED)
    history = collector.services["digits"].history
    assert np.mean(history["cascade_sent"].values[5:]) == pytest.approx(EXPECTED, abs=0.02)
    assert history["cascade_expected"].values[-1] == EXPECTED
    assert history["cascade_unanswered"].values[-1] == 0
    now_s = START_S + ENDS_S
    sources = replace(collector.sources, clock=lambda: now_s)
    shown = views.series(sources, "digits", Range(since_s=START_S, until_s=now_s)).answer()
    (plot,) = (each for each in shown["plots"] if each["key"] == "cascade")
    assert [each["label"] for each in plot["lines"]] == ["sent on", "when measured", "unanswered"]
    assert alerts == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("change", "signal"), [({"sent": 0.45}, "cascade"), ({"sent": EXPECTED, "unanswered": 0.6}, "teacher")]
)
def test_a_share_that_rises_raises_an_alert(change: dict[str, float], signal: str, seed: int) -> None:
    _, alerts = replay(**change, seed=seed)
    assert [alert.signal for alert in alerts] == [signal]
    assert "of rows" in alerts[0].sentence
