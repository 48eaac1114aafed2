"""Which service asks which: what a service needs may be to blame for what is wrong with it.

It is read from the traces: a span whose parent is of another service was asked for by that one. Failed and slow
requests are always among them, so those of an incident are.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set

from telemetry.series.traces import Span

Calls = Mapping[str, Set[str]]
"""By service, those that it asks, itself or by others."""


def calls_of(spans: Iterable[Span]) -> Calls:
    """Who asks whom, by these spans."""
    kept = {(span.trace_id, span.span_id): span for span in spans}
    asked: dict[str, set[str]] = defaultdict(set)
    for span in kept.values():
        parent = kept.get((span.trace_id, span.parent_id))
        if parent is not None and parent.service != span.service:
            asked[parent.service].add(span.service)
    return {service: _reached(asked, service) for service in list(asked)}


def _reached(asked: Mapping[str, Set[str]], service: str) -> Set[str]:
    found: set[str] = set()
    waiting = [service]
    while waiting:
        new = asked.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found - {service}
