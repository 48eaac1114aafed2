"""Remote write: each sample once, in the order of its series, over restarts and outages; and into a real Prometheus."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Sequence

import httpx
import numpy as np
import pyarrow as pa
import pytest

from telemetry.forwarding.answers import Answer
from telemetry.forwarding.backend import RemoteWrite
from telemetry.forwarding.backoff import Backoff
from telemetry.forwarding.remote_write_pb2 import WriteRequest
from telemetry.forwarding.remote_writer import RemoteWriter, encoded, of_response
from telemetry.queries.recorded import RecordedSeries
from telemetry.queries.vectors import Series
from telemetry.storage.documents import Documents, DocumentsInMemory
from telemetry.storage.storage import Storage
from tests.telemetry.queries.reference import serving
from tests.telemetry.queries.test_exposition import filled
from tests.telemetry.queries.test_recorded import key
from tests.telemetry.running import running
from tests.telemetry.traffic import Clock

DELIVERED = Answer(outcome="delivered")
GAUGE = "process_memory_usage_bytes"


class Written(RemoteWriter):
    """A writer whose requests are kept, or answered as told."""

    def __init__(self, storage: Storage, documents: Documents, clock: Clock, answers: Sequence[Answer] = ()) -> None:
        async def sleep(_: float) -> None:
            await asyncio.sleep(0)

        config = RemoteWrite(name="it", endpoint="http://it:1/api/v1/write", batch_samples=100)
        source = RecordedSeries(storage, {})
        super().__init__(
            config, source, documents, clock, sleep=sleep, new_backoff=lambda: Backoff(lambda low, high: 1.0)
        )
        self.samples: list[tuple[str, int, float]] = []
        self.answers = iter(answers)

    async def _send(self, batch: list[Series]) -> Answer:
        answer = next(self.answers, DELIVERED)
        if answer.outcome == "delivered":
            self.samples += [
                (dict(each.labels)["instance"], int(time_ms), float(value))
                for each in batch
                for time_ms, value in zip(each.times_ms, each.values, strict=True)
            ]
        return answer


@pytest.fixture
def storage():
    it = Storage(None)
    yield it
    it.close()


def add(storage: Storage, time_s: float, value: float, instance: str = "r1") -> None:
    number = storage.series_id(key("process.memory.usage", instance), "gauge")
    storage.append(np.array([number]), time_s, np.array([value]))


def write_all(it: RemoteWriter) -> None:
    async def until_now() -> None:
        while await it.step():
            pass

    asyncio.run(until_now())


def test_each_sample_is_written_once_though_some_come_late(storage):
    clock = Clock()
    begin_s = clock.now_s
    it = Written(storage, DocumentsInMemory(), clock)
    add(storage, begin_s - 10, 0.0)  # before anyone asked for it
    for step in range(1, 4):
        clock.now_s = begin_s + 10 * step
        add(storage, clock.now_s - 1, float(step))
        if step == 3:
            add(storage, clock.now_s - 15, 9.0, "late")
        write_all(it)
    assert it.samples == [
        ("r1", round((begin_s + 9) * 1e3), 1.0),
        ("r1", round((begin_s + 19) * 1e3), 2.0),
        *sorted(
            [("r1", round((begin_s + 29) * 1e3), 3.0), ("late", round((begin_s + 15) * 1e3), 9.0)],
            key=lambda one: it.samples.index(one),
        ),
    ]


def test_what_was_recorded_while_the_back_end_or_the_collector_was_away_follows(storage):
    clock, documents = Clock(), DocumentsInMemory()
    begin_s = clock.now_s
    write_all(Written(storage, documents, clock))
    for step in range(1, 61):
        add(storage, begin_s + 30 * step, float(step))
    clock.now_s = begin_s + 1800
    again = Written(storage, documents, clock, [Answer(outcome="retry", reason="HTTP 503")] * 3)
    assert again.lag_s == 1800
    write_all(again)
    assert [value for _, _, value in again.samples] == [float(step) for step in range(1, 61)]
    assert (again.tally.num_retries, again.lag_s) == (3, 0)
    third = Written(storage, documents, clock)
    write_all(third)
    assert third.samples == []


def test_of_a_refused_request_only_the_series_to_blame_is_dropped(storage):
    clock = Clock()
    it = Written(storage, DocumentsInMemory(), clock)
    send = it._send

    async def refusing(batch: list[Series]) -> Answer:
        if any(dict(each.labels)["instance"] == "r3" for each in batch):
            return of_response(400, {}, b"out of order sample")
        return await send(batch)

    it._send = refusing
    for number in range(8):
        add(storage, clock.now_s + 1, 1.0, f"r{number}")
    clock.now_s += 5
    write_all(it)
    assert sorted(name for name, _, _ in it.samples) == [f"r{number}" for number in range(8) if number != 3]
    assert it.tally.num_dropped_items == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (400, "refused"),
        (401, "refused"),
        (429, "retry"),
        (500, "retry"),
        (503, "retry"),
        (302, "refused"),
    ],
)
def test_statuses_mean_what_the_specification_says(status, outcome):
    answer = of_response(status, {"retry-after": "3"}, b"no")
    assert answer.outcome == outcome
    assert answer.wait_s == (3.0 if outcome == "retry" else 0.0)


def test_a_request_is_snappy_over_protobuf():
    series = Series(labels=(("__name__", "a"), ("b", "c")), times_ms=np.array([1, 2]), values=np.array([1.0, np.nan]))
    body = encoded([series])
    request = WriteRequest.FromString(pa.Codec("snappy").decompress(body, body[0], asbytes=True))  # its length first
    assert [(each.name, each.value) for each in request.timeseries[0].labels] == [("__name__", "a"), ("b", "c")]
    assert [each.timestamp for each in request.timeseries[0].samples] == [1, 2]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
def test_a_real_prometheus_takes_it_and_answers_the_same(tmp_path):
    (tmp_path / "prometheus.yml").write_text("scrape_configs: []\n")
    with serving(tmp_path, "--web.enable-remote-write-receiver", f"--storage.tsdb.path={tmp_path}") as url:
        back_end = {"name": "prometheus", "endpoint": f"{url}/api/v1/write"}
        with running(remote_write=[back_end]) as it:
            filled(time.time() + 0.5, it.collector.storage)
            found: list[dict] = []
            end_s = time.monotonic() + 60
            while not found and time.monotonic() < end_s:
                query = {"query": 'sum by (le) (http_server_request_duration_seconds_bucket{job="digits"})'}
                with contextlib.suppress(httpx.TransportError):
                    found = httpx.get(f"{url}/api/v1/query", params=query).json()["data"]["result"]
                time.sleep(0.1)
            assert it.collector.forwarding.remote_writers[0].tally.num_dropped_items == 0
    assert {each["metric"]["le"]: each["value"][1] for each in found} == {
        "0.1": "6",
        "1": "10",
        "10": "12",
        "+Inf": "12",
    }
