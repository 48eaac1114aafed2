"""What is reported of a table: look-ups and changes, by who reads it and by its shards."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from telemetry import conventions
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.trace import Child, Passed, current


@dataclass(kw_only=True)
class Counts:
    """What a process has looked up."""

    keys: int = 0
    hits: int = 0
    """Keys whose row was kept here; one that is asked for twice, and fetched, is none."""
    near: int = 0
    """Keys whose row was read from the memory of a shard on this node."""


class ReaderMeter:
    """Of a process that reads the table; reports nothing where there is no `emitter`."""

    def __init__(self, table: str, emitter: Emitter | None = None) -> None:
        self.counts = Counts()
        self._name = f"look up {table}"
        self._table: Attributes = ((conventions.TABLE, table),)
        self._durations = emitter.histogram(conventions.LOOKUP_DURATION) if emitter else None
        if emitter is not None:
            emitter.gauge(conventions.LOOKUP_ROWS, self._rows)

    def looked_up(self, start_ns: int) -> None:
        """Report a look-up that has ended, and as a part of the request it was for."""
        end_ns = time.time_ns()
        if self._durations is not None:
            self._durations.record((end_ns - start_ns) / 1e9, self._table)
        trace = current.get()
        if trace is not None:
            trace.add(Child(self._name, start_ns, end_ns, attributes=self._table))

    def _rows(self) -> Mapping[Attributes, float]:
        counts = self.counts
        found = {"near": counts.near, "kept": counts.hits, "fetched": counts.keys - counts.near - counts.hits}
        return {(*self._table, (conventions.OUTCOME, name)): number for name, number in found.items()}


class ShardMeter:
    """Of one shard."""

    def __init__(self, table: str, emitter: Emitter) -> None:
        self._emitter = emitter
        self._name = f"shard of {table}"
        self._table: Attributes = ((conventions.TABLE, table),)
        self._lookups = emitter.histogram(conventions.LOOKUP_DURATION)
        self._rows = emitter.counter(conventions.SHARD_ROWS)
        self._changes = emitter.histogram(conventions.CHANGE_DURATION)
        self._slowness = emitter.slowness()

    @contextmanager
    def lookup(self, num_rows: int, told: Passed | None) -> Iterator[None]:
        """Report a look-up, as a part of the trace that its reader has `told` of."""
        start_ns, failed = time.time_ns(), None
        try:
            yield
        except Exception as error:
            failed = type(error).__name__
            raise
        finally:
            end_ns = time.time_ns()
            seconds = (end_ns - start_ns) / 1e9
            attributes = (*self._table, (conventions.ERROR_TYPE, failed)) if failed else self._table
            self._lookups.record(seconds, attributes)
            self._rows.add(num_rows, self._table)
            is_slow = self._slowness.judge(seconds)
            if told is not None:
                trace = self._emitter.begin(*told)
                if trace.is_sampled or is_slow or failed:
                    self._emitter.spans.request(
                        trace, self._name, start_ns=start_ns, end_ns=end_ns, attributes=attributes, error=failed
                    )

    @contextmanager
    def change(self) -> Iterator[None]:
        """Report a change, until every copy has it."""
        began_s, failed = time.perf_counter(), None
        try:
            yield
        except Exception as error:
            failed = type(error).__name__
            raise
        finally:
            attributes = (*self._table, (conventions.ERROR_TYPE, failed)) if failed else self._table
            self._changes.record(time.perf_counter() - began_s, attributes)
