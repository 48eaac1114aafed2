"""The collectors that a process reports to: Trimtab's own, and the one that OpenTelemetry's variables name.

Each has a buffer and a thread for each signal, so that one that is down or hangs holds nobody up.
"""

import logging
import time
from collections.abc import Iterator, Mapping

from telemetry.emitting.buffers import Queue, Totals
from telemetry.emitting.delivery import Delivery
from telemetry.emitting.endpoint import Endpoint, Signal, collector, endpoint_of
from telemetry.emitting.environment import Environment
from telemetry.emitting.sender import ConsoleSender, Sender, sender_to
from telemetry.failures import Failures

logger = logging.getLogger(__name__)

COLLECTOR = "TRIMTAB_COLLECTOR"
DEFAULT = "http://localhost:4317"
NOWHERE = "none"
"""In place of a URL: there is no collector of Trimtab's."""
HEARTBEAT_S = 30.0
"""How often what has not changed is sent again."""


class Destination:
    """One collector."""

    def __init__(self, name: str, interval_s: float) -> None:
        self.name = name
        self.interval_s = interval_s
        self.totals: tuple[Totals, Delivery] | None = None
        self.spans: tuple[Queue, Delivery] | None = None
        self.logs: tuple[Queue, Delivery] | None = None
        self._offered_s = self._full_s = float("-inf")

    def deliveries(self) -> Iterator[Delivery]:
        """One for each signal that goes there."""
        for pair in (self.totals, self.spans, self.logs):
            if pair:
                yield pair[1]

    def is_due(self, now_s: float) -> bool:
        """Whether it is time for the next export of metrics."""
        return now_s - self._offered_s >= 0.9 * self.interval_s

    def lacks_constants(self, now_s: float) -> bool:
        """Whether it needs what has not changed as well."""
        return self.totals is not None and (self.totals[0].lacks_constants or now_s - self._full_s >= HEARTBEAT_S)

    def offer(self, body: bytes, num_points: int, *, is_full: bool, has_constants: bool) -> None:
        """Send an export of metrics."""
        assert self.totals is not None, "metrics go there"
        self._offered_s = time.monotonic()
        if is_full:
            self._full_s = self._offered_s
        self.totals[0].offer(body, num_points, has_constants=has_constants)
        self.totals[1].wake()

    def start(self) -> None:
        """Begin to deliver."""
        for delivery in self.deliveries():
            delivery.start()

    def stop(self) -> None:
        """Deliver what is there and end."""
        for delivery in self.deliveries():
            delivery.stop()

    def join(self, ends_s: float) -> bool:
        """Whether all has ended by then, by the monotonic clock."""
        ended = [delivery.join(ends_s - time.monotonic()) for delivery in self.deliveries()]
        return all(ended)


def of(
    own: str | None, variables: Mapping[str, str], environment: Environment, *, interval_s: float, failures: Failures
) -> list[Destination]:
    """Trimtab's collector at the URL `own`, and what the variables name beside it; none where they disable all."""
    if environment.is_disabled:
        return []
    own = own or variables.get(COLLECTOR, "").strip() or DEFAULT
    exported = {signal: kind for signal, kind in environment.exporters.items() if kind != "none"}
    found = []
    ours = collector(own, variables) if own != NOWHERE else None
    if ours is not None:
        destination = Destination(ours.target, interval_s)
        for signal in ("metrics", "traces", "logs"):
            _add(destination, signal, _sender(ours, signal), ours.timeout_s, environment, failures)
        found.append(destination)
    theirs: Destination | None = None
    for signal, kind in exported.items():
        endpoint = endpoint_of(signal, variables)
        if kind == "otlp" and ours is not None and endpoint.is_same(ours):
            continue  # it is the same collector, which has it already
        sender = ConsoleSender(signal) if kind == "console" else _sender(endpoint, signal)
        theirs = theirs or Destination(sender.name if sender else endpoint.target, environment.metric_interval_s)
        _add(theirs, signal, sender, endpoint.timeout_s, environment, failures)
    return [*found, theirs] if theirs is not None else found


def _sender(endpoint: Endpoint, signal: Signal) -> Sender | None:
    try:
        return sender_to(endpoint, signal)
    except (OSError, ValueError) as error:
        logger.warning("%s do not go to %s: %s", signal, endpoint.url, error)
        return None


def _add(
    to: Destination, signal: Signal, sender: Sender | None, timeout_s: float, given: Environment, failures: Failures
) -> None:
    if sender is None:
        return

    def delivery(buffer: Totals | Queue, interval_s: float, longest_s: float) -> Delivery:
        return Delivery(
            sender,
            buffer,
            signal=signal,
            interval_s=interval_s,
            timeout_s=min(timeout_s, longest_s),
            failures=failures,
        )

    if signal == "metrics":
        totals = Totals()
        to.totals = totals, delivery(totals, to.interval_s, given.metric_timeout_s)
        return
    queueing = given.spans if signal == "traces" else given.logs
    queue = Queue(queueing.max_size, queueing.max_batch)
    pair = queue, delivery(queue, queueing.delay_s, queueing.timeout_s)
    if signal == "traces":
        to.spans = pair
    else:
        to.logs = pair
