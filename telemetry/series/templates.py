"""Finds the template of a request: by its sender, else among those of the same length, else by reading it anew."""

from collections.abc import Iterator
from weakref import ReferenceType, ref

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics

from telemetry.series.learning import learn
from telemetry.series.template import Template
from telemetry.series.wire import BYTES, UnreadableError, fields

MAX_OWN = 8
"""Templates of one sender; one that leaves out what has not changed has two or three."""
MAX_ALIKE = 16
"""Templates of one length that are tried for a new sender: replicas of a model differ in the resource alone."""

Known = dict[int, Template]
"""A sender's templates, by their length."""


class Templates:
    """Templates of all senders; who uses one keeps it."""

    def __init__(self) -> None:
        self.num_learnt = 0
        """Requests that were read field by field."""
        self._alike: dict[int, list[ReferenceType[Template]]] = {}

    def find(self, metrics: bytes, known: Known) -> tuple[Template, bytes]:
        """The template of a resource's metrics, and the bytes that it describes; `known` are those the sender has used.

        Raises:
            DecodeError: the metrics are no protobuf.
        """
        length = len(metrics)
        own = known.get(length)
        if own is not None and own.fits(metrics):
            return own, metrics
        found = self._find_alike(metrics, own)
        if found is None:
            message = ResourceMetrics.FromString(metrics)  # what is constant is checked here, once
            self.num_learnt += 1
            try:
                found = learn(metrics)
            except UnreadableError as error:
                usual = message.SerializeToString()
                if usual == metrics:
                    raise DecodeError(str(error)) from None
                return self.find(usual, known)
        if not found.parsed:
            self._keep(found, known)
        return found, metrics

    def forget(self) -> None:
        """Forget which were of one length and are used no more."""
        alive = {length: [each for each in found if each() is not None] for length, found in self._alike.items()}
        self._alike = {length: found for length, found in alive.items() if found}

    def _find_alike(self, metrics: bytes, own: Template | None) -> Template | None:
        for each in self._alike.get(len(metrics), ()):
            template = each()
            if template is not None and template is not own and template.fits(metrics):
                return template
        return None

    def _keep(self, template: Template, known: Known) -> None:
        while len(known) >= MAX_OWN and template.length not in known:
            del known[next(iter(known))]
        known[template.length] = template
        alike = [each for each in self._alike.get(template.length, ()) if each() not in (None, template)]
        self._alike[template.length] = [*alike[-MAX_ALIKE + 1 :], ref(template)]


def resources(body: bytes) -> list[tuple[bytes, bytes]]:
    """Each resource of a request and its metrics, both as protobuf.

    Raises:
        DecodeError: the body is no ExportMetricsServiceRequest.
    """
    try:
        return list(_resources(body))
    except UnreadableError:
        request = ExportMetricsServiceRequest.FromString(body)
        request.DiscardUnknownFields()  # it may hold groups, which no version of the protocol has
        return list(_resources(request.SerializeToString()))


def _resources(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    for number, kind, begin, end in fields(body, 0, len(body)):
        if number != 1 or kind != BYTES:
            continue
        if begin == end or body[begin] != 0x0A:
            yield b"", body[begin:end]
            continue
        _, _, at, stop = next(fields(body, begin, end))
        yield body[at:stop], body[stop:end]
