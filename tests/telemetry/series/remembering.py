"""A store that remembers what was added, settling each request at once."""

from dataclasses import dataclass

from telemetry.series.store import SeriesStore
from telemetry.series.stream import Key
from tests.telemetry.traffic import START_S


@dataclass(frozen=True)
class Added:
    """What one point added; a histogram as its sum and the counts of buckets that hold something."""

    key: Key
    amount: float | tuple[float, tuple[tuple[int, int], ...]]
    start_ns: int
    end_ns: int
    gauge: bool


class Recorder:
    """Remembers what is taken; of what it is told besides, nothing."""

    def __init__(self):
        self.added = []

    def record(self, table, taken):
        columns = (taken.rows, taken.amounts, taken.start_ns, taken.end_ns, taken.gauge)
        for row, amount, start_ns, end_ns, gauge in zip(*(each.tolist() for each in columns), strict=True):
            if table.bounds is not None:
                total, *counts = amount
                amount = total, tuple((index, int(count)) for index, count in enumerate(counts) if count)
            self.added.append(Added(table.keys[row], amount, start_ns, end_ns, gauge))

    def link(self, exemplars, now_s):
        pass

    def describe(self, keys, now_s):
        pass

    def record_histogram(self, increment):
        amount = increment.amount.total, tuple(sorted(increment.amount.counts.items()))
        times = round(increment.start_s * 1e9), round(increment.end_s * 1e9)
        self.added.append(Added(increment.key, amount, *times, False))

    def forget(self, key):
        pass


class Remembering(SeriesStore):
    """A store whose `added` holds what came since it was cleared."""

    def __init__(self, **settings):
        recorder = Recorder()
        self.added = recorder.added
        given = {"started_s": START_S, "retention_s": 3600, "max_series": 100, **settings}
        super().__init__(**given, recorder=recorder)

    def see(self, request, now_s):
        """The outcome of a request, and what it adds."""
        self.added.clear()
        outcome = self.ingest(request.SerializeToString(), now_s)
        self.settle()
        return outcome, list(self.added)
