"""Decisions of a rollout reach the collector as log records, and are changes there."""

from typing import get_args

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs

from deployments.rollout.markers import Markers
from deployments.rollout.plan import RolloutSettings
from deployments.rollout.state import begun, judged, started
from telemetry.collector import Collector, CollectorConfig
from telemetry.emitting.protobuf import field
from telemetry.incidents.causes import WEIGHTS
from telemetry.incidents.changes import Kind
from telemetry.incidents.told import changes_told


class Noting:
    """In place of an emitter."""

    def __init__(self):
        self.records = []

    def log(self, record):
        self.records.append(record)

    def request(self):
        scope = ScopeLogs.FromString(b"".join(self.records))
        resource = field(2, scope.SerializeToString())
        return ExportLogsServiceRequest.FromString(field(1, resource))


def told():
    rollout = judged(
        started(begun("tiny", "1", "2", RolloutSettings(), at_s=1000.0, why="a test"), at_s=1010.0),
        "bad",
        "it fails",
        None,
        at_s=1020.0,
    )
    noting = Noting()
    for decision in rollout.decisions:
        Markers(noting).tell(rollout, decision)
    return noting.request()


def test_each_decision_is_a_change_of_the_model():
    changes = list(changes_told(told(), now_s=2000.0))
    assert [(each.time_s, each.service, each.kind) for each in changes] == [
        (1000.0, "tiny", "rollout"),
        (1010.0, "tiny", "rollout"),
        (1020.0, "tiny", "rollout"),
    ]
    assert changes[1].text == "version 2 after 1, canary 1%: version 2 is loaded"
    assert changes[2].text == "version 2 after 1, rolling back: version 2 is bad: it fails"


def test_a_change_is_remembered_once_though_it_is_taken_again():
    collector = Collector(CollectorConfig(), clock=lambda: 2000.0)
    for _ in range(2):
        collector.receive_logs(told())
    kinds = [each.kind for each in collector.watchers.changes]
    assert kinds.count("rollout") == 3


def test_other_records_are_no_changes():
    request = told()
    for record in request.resource_logs[0].scope_logs[0].log_records:
        record.event_name = "something"
    assert list(changes_told(request, now_s=2000.0)) == []


def test_every_kind_of_change_may_be_suspected():
    assert set(WEIGHTS) == set(get_args(Kind))
