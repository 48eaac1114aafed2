"""Who reports, as series of their own: what Prometheus calls `target_info`
(https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#resource-attributes-1).
"""

from collections.abc import Iterable

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from telemetry.conventions import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAMESPACE
from telemetry.receivers.attributes import Attributes, attributes
from telemetry.receivers.points import Scope
from telemetry.series.process import Process
from telemetry.series.stream import Key

METRIC = "target.info"
NAMING = (SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE_ID)
"""What a process is named by, which all its series bear anyway."""
AGAIN_S = 60.0
"""So often it is recorded as long as the process reports."""


def described(resource: Resource) -> Attributes:
    """What a resource says besides its name."""
    return tuple(pair for pair in attributes(resource.attributes) if pair[0] not in NAMING)


def due(processes: Iterable[Process]) -> list[Key]:
    """The series, each 1, of the processes that are to be recorded now."""
    found = []
    for process in processes:
        if process.described_as and process.seen_s - process.described_s >= AGAIN_S:
            process.described_s = process.seen_s
            found.append(Key(process.origin.service, process.origin.instance, Scope(), METRIC, process.described_as))
    return found
