"""Which exemplars of a process's requests are kept: histograms repeat the last one of each bucket in every request."""

from collections import OrderedDict

import numpy as np

from telemetry.receivers.origin import Origin
from telemetry.series.stream import Key
from telemetry.series.template import Exemplars, Ints, Name, words
from telemetry.storage.exemplars import Exemplar

APART_NS = 10_000_000_000
"""Between two exemplars of one bucket that are kept."""
MAX_REMEMBERED = 8192
"""Buckets of a process of which it is known when the last one was."""
_SPAN_BYTES, _TRACE_BYTES = 8, 16


class Linking:
    """Tells the exemplars of one process that are to be kept, each once."""

    def __init__(self) -> None:
        self._last: tuple[Exemplars, Ints] | None = None
        self._kept_ns: OrderedDict[tuple[Name, float | None], int] = OrderedDict()

    def new(self, exemplars: Exemplars, metrics: bytes, origin: Origin, offset_ns: int) -> list[Exemplar]:
        """Those of a request that are later than what was kept; `offset_ns` corrects the sender's clock."""
        found = words(metrics)[exemplars.places]
        changed = np.arange(len(exemplars.names))
        if self._last is not None and self._last[0] is exemplars:
            changed = np.flatnonzero((found != self._last[1]).any(axis=0))
        self._last = exemplars, found
        new = []
        for at in changed.tolist():
            time_ns, raw = found[:2, at].tolist()
            number = raw if exemplars.is_int[at] else float(found[1:2, at].view(np.float64)[0])
            value = float(number * exemplars.scale[at])
            name, le = exemplars.names[at], _bucket(exemplars.bounds[at], value)
            span_at, trace_at = exemplars.places[2:4, at].tolist()
            trace = metrics[trace_at : trace_at + _TRACE_BYTES]
            if not np.isfinite(value) or not any(trace) or not self._is_due(name, le, time_ns):
                continue
            new.append(
                Exemplar(
                    key=Key(origin.service, origin.instance, *name),
                    le=le,
                    time_s=(time_ns + offset_ns) / 1e9,
                    value=value,
                    trace_id=trace.hex(),
                    span_id=metrics[span_at : span_at + _SPAN_BYTES].hex(),
                )
            )
        return new

    def _is_due(self, name: Name, le: float | None, time_ns: int) -> bool:
        before_ns = self._kept_ns.get((name, le), 0)
        if time_ns < before_ns + APART_NS:
            return False
        self._kept_ns[name, le] = time_ns
        self._kept_ns.move_to_end((name, le))
        if len(self._kept_ns) > MAX_REMEMBERED:
            self._kept_ns.popitem(last=False)
        return True


def _bucket(bounds: tuple[float, ...], value: float) -> float | None:
    """The upper bound, inclusive, of the bucket that a value lies in; None where there are no buckets."""
    if not bounds:
        return None
    at = int(np.searchsorted(bounds, value))
    return bounds[at] if at < len(bounds) else float("inf")
