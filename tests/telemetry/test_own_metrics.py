"""What the collector says of itself."""

from telemetry import conventions as names
from telemetry.forwarding.backend import BackEnd
from telemetry.forwarding.forwarder import Forwarder
from telemetry.forwarding.forwarding import Forwarding, client_of
from telemetry.journal.journal import Journal
from telemetry.own_metrics import OwnMetrics
from telemetry.receivers.errors import BusyError
from telemetry.receivers.intake import Intake
from telemetry.receivers.memory import MemoryLimit
from tests.telemetry.forwarding.bodies import spans_body
from tests.telemetry.series.remembering import Remembering
from tests.telemetry.traffic import START_S, Sender


def received():
    series = Remembering()
    intake = Intake(None, max_body_bytes=100, memory=MemoryLimit(1000), tokens=None)
    intake.count("metrics", "http", 42)
    intake.count("traces", "grpc", 7, BusyError())
    return intake, series


def test_what_was_received_and_refused_is_reported_by_what_became_of_it(tmp_path):
    journal = Journal(tmp_path)
    intake, series = received()
    series.see(Sender().request({}, START_S + 1), START_S + 1)
    own = OwnMetrics(Forwarding([], journal), journal, intake, series)
    for _ in range(2):
        (resource,) = own.request(START_S).resource_metrics
    found = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    requests = {
        tuple(each.value.string_value for each in point.attributes): point.as_double
        for point in found[names.RECEIVED_REQUESTS.name].sum.data_points
    }
    assert requests == {("metrics", "http", "taken"): 1, ("traces", "grpc", "memory"): 1}
    assert found[names.RECEIVED_POINTS.name].sum.data_points[0].as_double == 1
    assert found[names.SERIES_COUNT.name].gauge.data_points[0].as_double == 1
    assert found[names.PROCESS_MEMORY_USAGE.name].gauge.data_points[0].as_double > 2**20
    assert series.num_points == 1, "the report on itself does not come by the receivers: no loop"
    journal.close()


def test_the_lag_and_the_losses_of_each_back_end_are_reported(tmp_path):
    journal = Journal(tmp_path)
    forwarding = Forwarding([BackEnd(name="tempo", endpoint="http://tempo:4317", protocol="http/protobuf")], journal)
    journal.append("traces", spans_body("a"), 0.0)
    config = forwarding._backends[0]
    forwarding.forwarders = [Forwarder(config, forwarding._readers[0], client_of(config))]
    forwarding.forwarders[0].tally.num_dropped_items = 3
    (resource,) = OwnMetrics(forwarding, journal, *received()).request(1_800_000_000.0).resource_metrics
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "collector"
    found = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    (lag,) = found[names.FORWARDING_LAG.name].gauge.data_points
    assert lag.as_double == journal.readers["forward-tempo"].lag_bytes > 0
    assert {each.key: each.value.string_value for each in lag.attributes} == {names.BACKEND: "tempo"}
    dropped = {
        point.attributes[1].value.string_value: point for point in found[names.FORWARDING_DROPPED.name].sum.data_points
    }
    assert {kind: point.as_double for kind, point in dropped.items()} == {"refused": 3.0, "partial": 0.0}
    assert found[names.FORWARDING_DROPPED.name].sum.is_monotonic
    assert found[names.JOURNAL_SIZE.name].gauge.data_points[0].as_double == journal.num_bytes
    journal.close()
