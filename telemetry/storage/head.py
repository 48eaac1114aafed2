"""What came since the last checkpoint: in memory, until it is written to disk in one go."""

import numpy as np

from telemetry.storage.block import Block, Floats, Ids, Ints, joined
from telemetry.storage.layout import Layout
from telemetry.storage.requests import Request


class Head:
    """Points and requests in the order they came."""

    def __init__(self) -> None:
        self.num_points = 0
        self.num_bytes = 0
        """Of memory that it holds."""
        self.requests: list[Request] = []
        self._numbers: list[Block] = []
        self._buckets: dict[Layout, list[Block]] = {}
        self._joined: tuple[int, list[Block]] = (0, [])

    def append(self, ids: Ids, times_ms: Ints, values: Floats) -> None:
        """Add points of gauges and counters."""
        self._numbers.append(Block(ids=ids, times_ms=times_ms, columns=(values,)))
        self.num_points += len(ids)
        self.num_bytes += ids.nbytes + times_ms.nbytes + values.nbytes

    def append_buckets(self, ids: Ids, times_ms: Ints, layout: Layout, counts: Ints, totals: Floats) -> None:
        """Add points of histograms."""
        block = Block(ids=ids, times_ms=times_ms, columns=(totals,), counts=counts, layout=layout)
        self._buckets.setdefault(layout, []).append(block)
        self.num_points += len(ids)
        self.num_bytes += ids.nbytes + times_ms.nbytes + counts.nbytes + totals.nbytes

    def add(self, request: Request) -> None:
        """Add spans or logs."""
        self.requests.append(request)
        self.num_bytes += len(request.body) + request.traces.nbytes

    def blocks(self) -> list[Block]:
        """All points in order, those of each layout together; kept until another one comes."""
        num, blocks = self._joined
        if num != self.num_points:
            num = self.num_points
            alike = [self._numbers, *self._buckets.values()]
            blocks = [block for each in alike if each and len(block := joined(list(each)))]
            self._joined = num, blocks
        return blocks

    def ids(self) -> Ids:
        """Whose points these are."""
        found = [block.ids for block in self.blocks()]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
