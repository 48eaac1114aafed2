"""The slowest requests whose traces are kept: points on a plot that lead to where the time went."""

import heapq
from itertools import islice

from telemetry import conventions as names
from telemetry.page.sources import Json, Range
from telemetry.storage.storage import Storage

MAX_SHOWN = 24
MAX_LOOKED_AT = 5000
"""Exemplars of a range that are looked at, the latest first."""


def slowest(storage: Storage, service: str, shown: Range) -> list[Json]:
    """`[{time, value, trace_id}]`, by their time."""
    latest = islice(storage.exemplars(shown.since_s, shown.until_s, service), MAX_LOOKED_AT)
    found = [each for each in latest if (each.key.service, each.key.metric) == (service, names.REQUEST_DURATION.name)]
    slow = heapq.nlargest(MAX_SHOWN, found, key=lambda each: each.value)
    return [
        {"time": each.time_s, "value": each.value, "trace_id": each.trace_id}
        for each in sorted(slow, key=lambda each: each.time_s)
    ]
