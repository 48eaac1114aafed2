"""Spans of the requests that are kept, encoded as they end and put where each collector takes them from."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from telemetry.emitting.buffers import Queue
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.delivery import Delivery
from telemetry.emitting.environment import Limits
from telemetry.emitting.span_bytes import (
    error_field,
    link_field,
    parent_field,
    shape_of,
    span,
    state_field,
    trace_field,
)
from telemetry.emitting.trace import INTERNAL, SERVER, Child, Link, Trace, new_span_id

MAX_CALLS = 1024
"""Calls of a model that wait for their requests to end; of more, the requests are reported and the calls are not."""
MAX_SHAPES = 4096
"""Kinds of spans whose encoding is kept."""
LINGER_S = 1.0
"""After so long all the requests of a call have ended."""


@dataclass(eq=False, slots=True)
class BatchSpan:
    """One call of a model for several requests, as a span that links to those of them that are kept."""

    trace_id: int
    parent_id: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    span_id: int = field(default_factory=new_span_id)
    link: bytes = field(init=False)
    """To it, from a span of a request that it answered."""
    links: list[Link] = field(default_factory=list)
    kept_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.link = link_field(Link(self.trace_id, self.span_id))


class Spans:
    """What a process reports of its requests; the methods may be called from any thread."""

    def __init__(self, resource: bytes, limits: Limits) -> None:
        self.counts: Counter[str] = Counter()
        """Spans by what became of them: kept under "", else under the reason that they were dropped for."""
        self.resource = resource
        """As it is encoded now."""
        self._limits = limits
        self._queues: list[tuple[Queue, Delivery]] = []
        self._batches: list[BatchSpan] = []
        self._shapes: dict[tuple[str, int, Attributes], bytes] = {}
        self._lock = threading.Lock()

    def deliver_to(self, queue: Queue, delivery: Delivery) -> None:
        """Put spans there as well from now on."""
        self._queues.append((queue, delivery))

    def report_as(self, resource: bytes) -> None:
        """Let spans that come from now on bear `resource`."""
        self.resource = resource

    def request(
        self,
        trace: Trace,
        name: str,
        *,
        start_ns: int,
        end_ns: int,
        attributes: Attributes,
        error: str | None = None,
        children: Sequence[Child] = (),
        kind: int = SERVER,
    ) -> bool:
        """Report a request that has ended, and what was done for it; whether any collector may get it."""
        if not self._queues:
            return False
        span_id, state = trace.own_id(), state_field(trace.state)
        of_trace, own = trace_field(trace.trace_id), span_id.to_bytes(8, "big")
        shape = self._shape(name, kind, attributes)
        records = [
            span(of_trace, own, parent_field(trace.parent_id), shape, start_ns, end_ns, state + error_field(error))
        ]
        parent = parent_field(span_id)
        for child in (*trace.children, *children) if trace.children else children:
            shape = self._shape(child.name, child.kind, child.attributes)
            child_id = (child.span_id or new_span_id()).to_bytes(8, "big")
            tail = state + child.link if child.error is None else state + child.link + error_field(child.error)
            records.append(span(of_trace, child_id, parent, shape, child.start_ns, child.end_ns, tail))
        return self._put(records)

    def batch(self, call: BatchSpan) -> None:
        """Report a call of a model once its requests have ended, which add themselves to its links meanwhile."""
        with self._lock:
            if len(self._batches) < MAX_CALLS:
                self._batches.append(call)
            else:
                self.counts["queue_full"] += 1

    def flush(self, *, linger_s: float) -> None:
        """Put calls where collectors get them, once they have waited `linger_s` for their requests to end."""
        until_s = time.monotonic() - linger_s
        with self._lock:
            ended = [each for each in self._batches if each.kept_s <= until_s]
            self._batches = [each for each in self._batches if each.kept_s > until_s]
        for call in ended:
            shape = shape_of("batch", INTERNAL, self._limits.of(call.attributes))
            own, parent = call.span_id.to_bytes(8, "big"), parent_field(call.parent_id)
            links = b"".join(map(link_field, call.links[: self._limits.num_links]))
            self._put([span(trace_field(call.trace_id), own, parent, shape, call.start_ns, call.end_ns, links)])

    def _shape(self, name: str, kind: int, attributes: Attributes) -> bytes:
        key = name, kind, attributes
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
            shape = self._shapes[key] = shape_of(name, kind, self._limits.of(attributes))
        return shape

    def _put(self, records: list[bytes]) -> bool:
        is_kept = False
        for queue, delivery in self._queues:
            if queue.put(self.resource, records):
                is_kept = True
                if queue.is_due:
                    delivery.wake()
            else:
                delivery.counts["queue_full"] += len(records)
        self.counts["" if is_kept else "queue_full"] += len(records)
        return is_kept
