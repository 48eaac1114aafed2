"""What of all that the collector has acknowledged is lost when it is killed, and when its disk is full.

Senders number their spans and points and send each request, over HTTP, until it is acknowledged. Afterwards storage is
opened, and what is missing is counted. The collector is `python -m telemetry`, a process of its own.
"""

import argparse
import itertools
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.servers import free_port
from benchmarks.throughput import Figures
from telemetry.storage import spans
from telemetry.storage.storage import Storage

KILLS = 20
SPANS, SERIES = 100, 50
"""In a request."""
SENDERS = 2
"""Of spans, and as many of points."""
READY_S = 120.0
FULL_S = 5.0
"""For how long all is refused before there is room again."""
SMALL, LARGE = 6, 512
"""MiB of the disk, before and after."""
METRIC = "bench.sequence"


def kill_figures(options: argparse.Namespace) -> Figures:
    """Acknowledged spans and points that are lost over kills at random moments."""
    kills = 4 if options.quick else KILLS
    draw = random.Random(20261130)
    with tempfile.TemporaryDirectory() as folder:
        collector = _Collector(Path(folder))
        with _sending(collector.http_port) as senders:
            for _ in range(kills):
                collector.start()
                time.sleep(draw.uniform(0.2, 2.0))
                collector.process.kill()
                collector.process.wait()
            collector.start()
            _wait(lambda: all(sender.is_idle for sender in senders), senders)
        collector.stop()
        num, lost = _count(collector.data, senders)
    print(f"outage_lost_kills: {num} spans and points acknowledged over {kills} kills", flush=True)
    return {"outage_lost_kills": lost, "outage_acknowledged_kills": num}


def disk_figures(options: argparse.Namespace) -> Figures:
    """Acknowledged spans and points that are lost on a disk that is full and then is not."""
    with tempfile.TemporaryDirectory() as folder, _small_disk(Path(folder)) as (grow, kind):
        collector = _Collector(Path(folder))
        collector.start()
        if kind == "limit":
            resource.prlimit(collector.process.pid, resource.RLIMIT_FSIZE, (SMALL * 2**17, resource.RLIM_INFINITY))
        with _sending(collector.http_port) as senders:
            _until(lambda: all(sender.num_refused for sender in senders), senders)
            time.sleep(1.0 if options.quick else FULL_S)
            num_refused = sum(sender.num_refused for sender in senders)
            grow(collector.process.pid)
            before = [len(sender.acknowledged) for sender in senders]
            _until(
                lambda: all(len(sender.acknowledged) > num + 20 for sender, num in zip(senders, before, strict=True)),
                senders,
            )
            _wait(lambda: all(sender.is_idle for sender in senders), senders)
        collector.stop()
        num, lost = _count(collector.data, senders)
    print(f"outage_lost_disk: {num} spans and points acknowledged, {num_refused} requests refused ({kind})", flush=True)
    return {"outage_lost_disk": lost, "outage_acknowledged_disk": num}


class _Collector:
    """The collector's process, which may be started again on the same ports and folder."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.http_port = free_port()
        self._file = folder / "collector.yaml"
        self._log = folder / "collector.log"
        self._file.write_text(f"data_dir: {self.data}\nstorage: {{checkpoint_s: 1, journal_bytes: {2**26}}}\n")
        self._ports = ["--grpc-port", str(free_port()), "--page-port", str(free_port())]
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [sys.executable, "-m", "telemetry", str(self._file), "--http-port", str(self.http_port), *self._ports]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{self.http_port}/", timeout=2)
                return
            time.sleep(0.02)
        said = self._log.read_text()[-500:]
        raise RuntimeError(f"the collector must listen within {READY_S:.0f} s, got {self.process.poll()}: {said}")

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self.process.terminate()
        self.process.wait(60)


@dataclass
class _Sender:
    """Sends numbered requests, each until it is acknowledged."""

    url: str
    number: int
    make: Callable[[int, int], bytes]
    stop: threading.Event
    give_up: threading.Event
    acknowledged: list[int] = field(default_factory=list)
    num_refused: int = 0
    is_idle: bool = False

    def run(self) -> None:
        """Send until told to stop; the last one, too, is sent until it is acknowledged."""
        with httpx.Client(headers={"content-type": "application/x-protobuf"}, timeout=10) as client:
            for sequence in itertools.count():
                if self.stop.is_set():
                    break
                body = self.make(self.number, sequence)
                while not self._send(client, body):
                    if self.give_up.wait(0.05):
                        return
                self.acknowledged.append(sequence)
        self.is_idle = True

    def _send(self, client: httpx.Client, body: bytes) -> bool:
        try:
            answer = client.post(self.url, content=body)
        except httpx.TransportError:
            return False
        self.num_refused += answer.status_code == 503
        return answer.status_code == 200


@contextmanager
def _sending(port: int) -> Iterator[list[_Sender]]:
    stop, give_up = threading.Event(), threading.Event()
    kinds = (("traces", _spans), ("metrics", _points))
    senders = [
        _Sender(f"http://127.0.0.1:{port}/v1/{signal}", number, make, stop, give_up)
        for signal, make in kinds
        for number in range(SENDERS)
    ]
    threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        yield senders
    finally:
        stop.set()
        give_up.set()
        for thread in threads:
            thread.join(READY_S)


def _wait(is_done: Callable[[], bool], senders: list[_Sender]) -> None:
    """Let the senders finish what they have begun."""
    senders[0].stop.set()
    _until(is_done, senders)


def _until(is_done: Callable[[], bool], senders: list[_Sender]) -> None:
    deadline = time.monotonic() + READY_S
    while not is_done():
        if time.monotonic() > deadline:
            counts = [(len(sender.acknowledged), sender.num_refused) for sender in senders]
            raise RuntimeError(f"senders must go on within {READY_S:.0f} s, got (acknowledged, refused) {counts}")
        time.sleep(0.05)


def _spans(sender: int, sequence: int) -> bytes:
    """A request whose spans have random parents and names, so that it does not shrink to nothing."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = f"spans-{sender}"
    scope = resource_spans.scope_spans.add()
    now_ns = time.time_ns()
    for index in range(SPANS):
        scope.spans.add(
            trace_id=_trace_id(sender, sequence, index),
            span_id=os.urandom(8),
            parent_span_id=os.urandom(8),
            name=f"POST /{os.urandom(12).hex()}",
            start_time_unix_nano=now_ns,
            end_time_unix_nano=now_ns + 10**6,
        )
    return request.SerializeToString()


def _trace_id(sender: int, sequence: int, index: int) -> bytes:
    return b"".join(each.to_bytes(4, "big") for each in (1, sender, sequence, index))


def _points(sender: int, sequence: int) -> bytes:
    """A request whose gauges all have the sequence number as their value."""
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    for name, value in (("service.name", f"points-{sender}"), ("service.instance.id", f"{sender}")):
        resource_metrics.resource.attributes.add(key=name).value.string_value = value
    metric = resource_metrics.scope_metrics.add().metrics.add(name=METRIC)
    now_ns = time.time_ns() // 10**6 * 10**6
    for index in range(SERIES):
        point = metric.gauge.data_points.add(time_unix_nano=now_ns, as_double=sequence)
        point.attributes.add(key="index").value.int_value = index
    return request.SerializeToString()


def _count(data: Path, senders: list[_Sender]) -> tuple[int, int]:
    """How many spans and points were acknowledged, and how many of them storage does not have."""
    storage = Storage(data, read_only=True)
    kept = {bytes.fromhex(span.trace_id) for body in storage.requests("traces") for span in spans.read(body)}
    values: dict[str, dict[int, set[int]]] = {}
    for series in storage.select(METRIC):
        numbers = storage.read(series.id, 0.0, 2e10).values
        (index,) = [int(value) for name, value in series.key.attributes if name == "index"]
        values.setdefault(series.key.service, {}).setdefault(index, set()).update(numbers.astype(int).tolist())
    num = lost = 0
    for sender in senders:
        for sequence in sender.acknowledged:
            if sender.make is _spans:
                missing = sum(_trace_id(sender.number, sequence, index) not in kept for index in range(SPANS))
                num += SPANS
            else:
                of = values.get(f"points-{sender.number}", {})
                missing = sum(sequence not in of.get(index, ()) for index in range(SERIES))
                num += SERIES
            lost += missing
    storage.close()
    return num, lost


@contextmanager
def _small_disk(folder: Path) -> Iterator[tuple[Callable[[int], None], str]]:
    """A file system of `SMALL` MiB, and how to make it `LARGE`; without rights to it, a bound on a file's size."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield _lift, "limit"
        return
    try:
        yield lambda _: _grow(folder), "tmpfs"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _grow(folder: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,size={LARGE}m", str(folder)], check=True)


def _lift(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
