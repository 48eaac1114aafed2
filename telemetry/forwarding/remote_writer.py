"""Brings what was recorded to a Prometheus-compatible back-end by remote write 1.0
(https://prometheus.io/docs/specs/prw/remote_write_spec/).

It reads the recorded series, not the journal: what Prometheus gets are totals under Prometheus' names, as `/metrics`
and the queries have them. How far it has come is a time, kept as a document.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from telemetry.failures import Failures
from telemetry.forwarding.answers import MAX_REASON, Answer, retry_after
from telemetry.forwarding.backend import RemoteWrite
from telemetry.forwarding.backoff import Backoff
from telemetry.forwarding.delivery import Delivery, Sleep, Tally
from telemetry.forwarding.http_client import Poster
from telemetry.forwarding.remote_write_pb2 import WriteRequest
from telemetry.queries.labels import NAME, Labels
from telemetry.queries.matching import Matcher
from telemetry.queries.source import Source
from telemetry.queries.vectors import Series
from telemetry.storage.documents import Documents

logger = logging.getLogger(__name__)

EVERY_S = 5.0
LATE_MS = 60_000
"""How much older than what was sent before a series' points may be, and still be found."""
SLICE_MS = 300_000
"""How much is read at a time after the back-end was away."""
_EVERYTHING = (Matcher(name=NAME, op="!=", value=""),)
_SNAPPY = pa.Codec("snappy")
_HEADERS = {
    "content-type": "application/x-protobuf",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
    "user-agent": "trimtab",
    "accept-encoding": "identity",
}


class RemoteWriter:
    """One back-end's place in time, and its waits."""

    def __init__(
        self,
        config: RemoteWrite,
        source: Source,
        documents: Documents,
        clock: Callable[[], float],
        *,
        sleep: Sleep = asyncio.sleep,
        new_backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        """From where it left off; a new one begins with what is recorded from now on.

        Raises:
            SecretError: a header's secret is not where the configuration says.
        """
        self.name = config.name
        self._config = config
        self._headers = {**config.metadata(), **_HEADERS}
        self._source = source
        self._documents = documents
        self._clock = clock
        self._sleep = sleep
        self._delivery = Delivery(config.name, sleep=sleep, new_backoff=new_backoff)
        self._failures = Failures(logger)
        self._is_stopping = False
        self._poster: Poster | None = None
        kept = documents.kept(self._document)
        self._until_ms: int = kept["until_ms"] if kept else self._now_ms()
        self._begin_ms = self._until_ms
        self._sent_ms: dict[Labels, int] = {}

    @property
    def tally(self) -> Tally:
        """What became of requests."""
        return self._delivery.tally

    @property
    def lag_s(self) -> float:
        """How far behind now it is."""
        return max(0, self._now_ms() - self._until_ms) / 1e3

    async def run(self) -> None:
        """Write until `stop`, or until the task is cancelled."""
        while not self._is_stopping:
            is_behind = False
            with self._failures.contained(f"remote write to {self.name}"):
                is_behind = await self.step()
            if not is_behind:
                await self._sleep(EVERY_S)

    async def step(self) -> bool:
        """Write what was recorded since the last time; True where there is more at once."""
        now_ms = self._now_ms()
        until_ms = min(now_ms, self._until_ms + SLICE_MS)
        series = await asyncio.to_thread(self._unsent, until_ms)
        for batch in _batches(series, self._config.batch_samples):
            await self._delivery.deliver("samples", batch, self._send, _num_samples)
        for each in series:
            self._sent_ms[each.labels] = int(each.times_ms[-1])
        self._until_ms = until_ms
        self._sent_ms = {labels: sent for labels, sent in self._sent_ms.items() if sent > until_ms - LATE_MS}
        await asyncio.to_thread(self._documents.keep, self._document, {"until_ms": until_ms})
        return until_ms < now_ms

    def stop(self) -> None:
        """Read nothing further; what is being sent goes on, until the task is cancelled."""
        self._is_stopping = True

    async def close(self) -> None:
        """Give the connections up."""
        if self._poster:
            await self._poster.close()

    @property
    def _document(self) -> str:
        return f"remote-write-{self.name}"

    def _now_ms(self) -> int:
        return round(self._clock() * 1e3)

    def _unsent(self, until_ms: int) -> list[Series]:
        """What came after the last sample of each series that was sent."""
        found = []
        for each in self._source.select(_EVERYTHING, self._until_ms - LATE_MS, until_ms):
            first = int(np.searchsorted(each.times_ms, self._sent_ms.get(each.labels, self._begin_ms), "right"))
            if first < len(each.times_ms):
                found.append(Series(labels=each.labels, times_ms=each.times_ms[first:], values=each.values[first:]))
        return found

    async def _send(self, batch: Sequence[Series]) -> Answer:
        if self._poster is None:
            self._poster = Poster(self._headers, self._config.tls, self._config.timeout_s, of_response)
        body = await asyncio.to_thread(encoded, batch)
        return await self._poster.post(self._config.endpoint, body)


def of_response(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What the specification says of a status: 5xx and 429 are tried again, other refusals are for good."""
    if 200 <= status < 300:
        return Answer(outcome="delivered")
    reason = f"HTTP {status}: {' '.join(body[:1000].decode(errors='replace').split())[:MAX_REASON]}"
    if status == 429 or status >= 500:
        return Answer(outcome="retry", reason=reason, wait_s=retry_after(headers.get("retry-after")))
    return Answer(outcome="refused", reason=reason, by_content=status in (400, 413, 422))


def encoded(batch: Sequence[Series]) -> bytes:
    """A write request, compressed as snappy's blocks are."""
    request = WriteRequest()
    for each in batch:
        written = request.timeseries.add()
        for name, value in each.labels:
            written.labels.add(name=name, value=value)
        for time_ms, value in zip(each.times_ms.tolist(), each.values.tolist(), strict=True):
            written.samples.add(timestamp=time_ms, value=value)
    compressed: bytes = _SNAPPY.compress(request.SerializeToString(), asbytes=True)
    return compressed


def _batches(series: Sequence[Series], max_samples: int) -> list[list[Series]]:
    """As many series at a time as have `max_samples` together; each in the order of its times."""
    batches: list[list[Series]] = []
    num = max_samples
    for each in (part for one in series for part in _parts(one, max_samples)):
        if num + len(each.values) > max_samples:
            batches.append([])
            num = 0
        batches[-1].append(each)
        num += len(each.values)
    return batches


def _parts(series: Series, num: int) -> list[Series]:
    return [
        Series(labels=series.labels, times_ms=series.times_ms[at : at + num], values=series.values[at : at + num])
        for at in range(0, len(series.values), num)
    ]


def _num_samples(batch: Sequence[Series]) -> int:
    return sum(len(each.values) for each in batch)
