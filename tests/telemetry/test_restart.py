"""A collector that is killed: nothing acknowledged is lost, nothing counts twice; a full disk refuses and goes on."""

import asyncio
import subprocess
import sys
import time

import grpc
import httpx
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.emitting.emitter import Emitter
from telemetry.journal.errors import JournalError
from telemetry.receivers.origin import Peer
from telemetry.storage.config import StorageConfig
from telemetry.storage.data_folder import DataFolder
from telemetry.storage.logs import LogQuery
from telemetry.storage.spans import SpanQuery
from tests.conftest import free_port
from tests.telemetry.running import running
from tests.telemetry.storage.test_requests import of_logs, of_spans
from tests.telemetry.traffic import START_S, Clock, Sender, Steady, replay


def opened(folder, clock=None):
    return Collector(CollectorConfig(data_dir=folder, grpc_port=0, http_port=0), clock=clock or Clock())


def kill(collector):
    """What the death of the process does to its folder: nothing, but that the lock is gone."""
    collector.data.journal.close()


def restarted(folder, clock=None):
    collector = opened(folder, clock)

    async def start_and_stop():
        await collector.start()
        found = roots(collector), {record.body for record in collector.storage.search_logs(LogQuery())}
        await collector.stop()
        return found

    return asyncio.run(start_and_stop())


def roots(collector):
    spans = collector.storage.search_spans(SpanQuery(name="POST /infer", limit=1000))
    return sorted(dict(span.attributes)["number"] for span in spans)


@pytest.mark.parametrize("checkpoint_after", [None, 0, 1, 2])
def test_what_no_checkpoint_holds_is_taken_again_and_nothing_twice(tmp_path, checkpoint_after):
    collector = opened(tmp_path)
    for index in range(3):
        collector.receive_traces(of_spans(index))
        collector.receive_logs(of_logs(f"line {index}"), Peer("127.0.0.1", "4711"))
        if index == checkpoint_after:
            collector.checkpoint()
            assert collector.storage.flush()
    kill(collector)
    for _ in range(2):
        assert restarted(tmp_path) == ([0, 1, 2], {"line 0", "line 1", "line 2"})


def test_a_kill_amid_the_replay_of_a_longer_outage_loses_nothing_either(tmp_path):
    """As long as it replays, a checkpoint reaches no further than what was taken again."""
    collector = opened(tmp_path)
    for index in range(5):
        collector.receive_traces(of_spans(index))
    kill(collector)
    data = DataFolder(tmp_path, StorageConfig())
    for index, record in enumerate(data.unwritten()):
        data.storage.add_spans(ExportTraceServiceRequest.FromString(record.body), record.body, record.time_s)
        if index == 2:
            data.checkpoint(record.time_s)
            assert data.storage.flush()
            break
    data.journal.close()
    again = DataFolder(tmp_path, StorageConfig())
    assert len(list(again.unwritten())) == 2
    again.close()
    assert restarted(tmp_path)[0] == list(range(5))


def test_a_database_that_is_lost_is_filled_again_from_what_the_journal_still_has(tmp_path):
    collector = opened(tmp_path)
    collector.receive_traces(of_spans(7))
    collector.checkpoint()
    assert collector.storage.flush()
    kill(collector)
    for path in tmp_path.glob("telemetry.sqlite*"):
        path.write_bytes(b"damaged" * 100)
    assert restarted(tmp_path)[0] == [7]


def test_a_request_that_fails_when_it_is_taken_again_costs_itself_alone(tmp_path):
    collector = opened(tmp_path)
    collector.receive_traces(of_spans(1))
    collector.data.journal.append("traces", b"\xff\xff", 1.0, " ")
    collector.receive_traces(of_spans(2))
    kill(collector)
    assert restarted(tmp_path)[0] == [1, 2]


def test_a_back_end_that_is_configured_no_more_holds_no_requests(tmp_path):
    collector = opened(tmp_path)
    collector.data.journal.reader("forward-gone")
    kill(collector)
    restarted(tmp_path)
    assert [path.stem for path in (tmp_path / "journal").glob("*.place")] == ["storage"]


def test_the_history_of_a_services_signals_goes_on_after_a_kill(tmp_path):
    clock, sender = Clock(), Sender()
    before = opened(tmp_path, clock)
    send(before, clock, sender, seconds=60)
    kill(before)
    after = opened(tmp_path, clock)
    after._replay()
    send(after, clock, sender, seconds=5)
    expected, history = before.services["digits"].history["throughput"], after.services["digits"].history["throughput"]
    assert list(history.times)[:59] == pytest.approx(list(expected.times)[:59], abs=0.001)
    assert list(history.values)[:59] == pytest.approx(list(expected.values)[:59])
    assert len(history.times) >= 63


def test_what_is_expected_is_recorded_beside_the_signals():
    collector, _ = replay(Steady().second, seconds=180, seed=3)
    read = collector.signals.read("digits", START_S, START_S + 200)
    for signal in ("latency_p95", "server_error_ratio"):
        low, high = read[f"{signal}.low"].values[-1], read[f"{signal}.high"].values[-1]
        assert 0 <= low <= read[signal].values[-1] <= high


@pytest.mark.parametrize("checkpoint_after", [None, 3, 9])
@pytest.mark.parametrize("delta", [False, True])
def test_totals_go_on_over_a_kill_as_if_there_had_been_none(tmp_path, checkpoint_after, delta):
    """Cumulative and delta; whatever of it a checkpoint holds, and however often the collector dies."""
    clock, sender = Clock(), Sender(delta=delta)
    for _ in range(3):
        collector = opened(tmp_path, clock)
        collector._replay()
        for second in range(10):
            send(collector, clock, sender, seconds=1)
            if second == checkpoint_after:
                collector.checkpoint()
                assert collector.storage.flush()
        kill(collector)
    last = opened(tmp_path, clock)
    last._replay()
    (series,) = last.storage.select("http.server.request.duration", service="digits")
    ((_, found),) = last.storage.read_buckets(series.id, START_S, clock.now_s)
    assert found.counts.sum(axis=1).tolist() == [10 * (index + 1) for index in range(30)]
    assert found.totals.tolist() == pytest.approx([0.02 * (index + 1) for index in range(30)])


def test_the_end_of_a_services_traffic_is_recorded(tmp_path):
    clock = Clock()
    collector = opened(tmp_path, clock)
    send(collector, clock, Sender(), seconds=5)
    for _ in range(10):
        clock.now_s += 1
        collector.tick()
    recorded = collector.signals.read("digits", START_S, clock.now_s)["throughput"]
    assert np.isnan(recorded.values).tolist() == [False] * (len(recorded.values) - 1) + [True]


def send(collector, clock, sender, *, seconds):
    for _ in range(seconds):
        clock.now_s += 1
        collector.receive_metrics(sender.request({200: np.full(10, 0.002)}, clock.now_s))
        collector.tick()


FULL = """
import asyncio, resource, sys
from pathlib import Path
from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.emitting.emitter import Emitter
from telemetry.journal.errors import JournalError
from telemetry.storage.spans import SpanQuery
from tests.telemetry.storage.test_requests import of_spans
collector = Collector(CollectorConfig(data_dir=Path(sys.argv[1])))
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
taken, refused = [], 0
for index in range(400):
    if index == 300: resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, resource.RLIM_INFINITY))
    try:
        collector.receive_traces(of_spans(*range(10 * index, 10 * index + 10)))
        taken += range(10 * index, 10 * index + 10)
    except JournalError: refused += 1
    if index % 50 == 49: collector.checkpoint()
assert collector.storage.flush()
found = collector.storage.search_spans(SpanQuery(name="POST /infer", limit=10**6))
assert sorted(dict(span.attributes)["number"] for span in found) == taken, (len(found), len(taken))
print(refused)
"""


def test_on_a_full_disk_requests_are_refused_and_what_was_taken_before_is_kept(tmp_path):
    """A bound on the size of a process's files stands for the disk: the journal's and SQLite's writes fail in turn."""
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 10 < int(done.stdout) <= 300


@pytest.fixture
def full(tmp_path, monkeypatch):
    """A collector that has no room."""

    def refuse(*arguments):
        raise JournalError("there must be room")

    with running(data_dir=tmp_path) as it:
        monkeypatch.setattr(it.collector.data, "receive", refuse)
        yield it


def test_without_room_a_sender_is_asked_over_http_to_come_again(full):
    answer = httpx.post(
        f"{full.http}/v1/traces",
        content=of_spans(1).SerializeToString(),
        headers={"content-type": "application/x-protobuf"},
    )
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert status_pb2.Status.FromString(answer.content).message == "there must be room"


def test_without_room_a_sender_is_asked_over_grpc_to_come_again(full):
    with grpc.insecure_channel(f"127.0.0.1:{full.collector.grpc_port}") as channel:
        with pytest.raises(grpc.RpcError) as refused:
            TraceServiceStub(channel).Export(of_spans(1))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        details = dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
    retry = error_details_pb2.RetryInfo()
    assert status_pb2.Status.FromString(details).details[0].Unpack(retry)
    assert retry.retry_delay.seconds == 5


def test_a_process_that_is_killed_and_started_again_has_all_it_acknowledged(tmp_path):
    port = free_port()
    ports = {"grpc-port": free_port(), "http-port": port, "page-port": free_port()}
    settings = tmp_path / "collector.yaml"
    settings.write_text(f"data_dir: {tmp_path / 'data'}\nstorage: {{checkpoint_s: 0.3}}\n")
    flags = [word for name, value in ports.items() for word in (f"--{name}", str(value))]
    with subprocess.Popen([sys.executable, "-m", "telemetry", settings, *flags]) as process:
        transport = httpx.HTTPTransport(retries=20)
        with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}") as client:
            for index in range(100):
                answer = client.post(
                    "/v1/traces",
                    content=of_spans(index).SerializeToString(),
                    headers={"content-type": "application/x-protobuf"},
                )
                assert answer.status_code == 200
        process.kill()
    # By the clock that the process had: by another, what it took may be older than a day, and is soon removed.
    assert restarted(tmp_path / "data", time.time)[0] == list(range(100))


def test_a_process_that_ended_in_order_is_not_missed_after_a_restart(tmp_path):
    def collector():
        return Collector(CollectorConfig(grpc_port=0, http_port=0, data_dir=tmp_path / "data"))

    async def until_it_ends():
        first = collector()
        await first.start()
        emitter = Emitter(
            service="s", version="1", role="train_worker", instance="i", endpoint=f"http://127.0.0.1:{first.grpc_port}"
        )
        emitter.start()
        await asyncio.to_thread(emitter.shutdown)
        await asyncio.sleep(0.5)
        assert first.services["s"].instances["i"].said_goodbye
        await first.stop()

    asyncio.run(until_it_ends())
    second = collector()
    second._replay()
    assert second.services["s"].instances["i"].said_goodbye
    second.data.close()
