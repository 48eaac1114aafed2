"""What the collector says of itself."""

from telemetry import conventions as names
from telemetry.forwarding.backend import BackEnd
from telemetry.forwarding.forwarder import Forwarder
from telemetry.forwarding.forwarding import Forwarding, client_of
from telemetry.journal.journal import Journal
from telemetry.own_metrics import OwnMetrics
from tests.telemetry.forwarding.bodies import spans_body


def test_the_lag_and_the_losses_of_each_back_end_are_reported(tmp_path):
    journal = Journal(tmp_path)
    forwarding = Forwarding([BackEnd(name="tempo", endpoint="http://tempo:4317", protocol="http/protobuf")], journal)
    journal.append("traces", spans_body("a"), 0.0)
    config = forwarding._backends[0]
    forwarding.forwarders = [Forwarder(config, forwarding._readers[0], client_of(config))]
    forwarding.forwarders[0].tally.num_dropped_items = 3
    (resource,) = OwnMetrics(forwarding, journal).request(1_800_000_000.0).resource_metrics
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
