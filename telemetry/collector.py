"""The collector: OTLP in, series, signals, alerts and a page out, all on one event loop.

receivers -> SeriesStore -> Service -> Watcher -> AlertBook
                 '-------------'-----------------------'----> page
"""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Annotated

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from starlette.applications import Starlette

from telemetry.drift import routes as drift_routes
from telemetry.failures import Failures
from telemetry.forwarding.backend import BackEnd, RemoteWrite
from telemetry.forwarding.forwarding import Forwarding
from telemetry.incidents import routes as incident_routes
from telemetry.journal.record import Record
from telemetry.named import each_name_once
from telemetry.notify.notifier import Notifier, NotifyConfig
from telemetry.notify.telling import Teller
from telemetry.own_metrics import EVERY_S as OWN_METRICS_S
from telemetry.own_metrics import OwnMetrics
from telemetry.page import routes
from telemetry.page.sources import Sources
from telemetry.queries.recorded import RecordedSeries
from telemetry.queries.routes import query_routes
from telemetry.receivers.grpc import GrpcReceiver
from telemetry.receivers.http import HttpReceiver
from telemetry.receivers.origin import NOBODY, Peer
from telemetry.receivers.receiver import Refusal
from telemetry.series.service import Service
from telemetry.series.store import SeriesStore
from telemetry.series.stream import Increment
from telemetry.series.traces import SpanStore
from telemetry.slo import routes as slo_routes
from telemetry.slo.objective import Objective
from telemetry.storage.config import StorageConfig
from telemetry.storage.data_folder import DataFolder, sender_of
from telemetry.storage.signals import RecordedSignals
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.watchers import Watchers

logger = logging.getLogger(__name__)

TICK_S = 0.25
EXPIRY_S = 30.0


class CollectorConfig(BaseModel):
    """Where the collector listens, how much it keeps and when it alerts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on; senders are not authenticated, so keep it within a network you trust."""
    grpc_port: int = Field(default=4317, ge=0, le=65535)
    """OTLP over gRPC; 0 takes any free port."""
    http_port: int = Field(default=4318, ge=0, le=65535)
    """OTLP over HTTP; 0 takes any free port."""
    page_port: int = Field(default=8088, ge=0, le=65535)
    """The page and its API, where `python -m telemetry` runs; behind the ingress they have no port of their own."""
    max_body_bytes: int = Field(default=16 * 2**20, gt=0)
    """Largest request, after decompression."""
    retention_s: float = Field(default=3600.0, gt=0)
    """Seconds for which points and signals are kept in memory."""
    max_series: int = Field(default=4000, gt=0)
    """Series kept; each takes up to 64 KB. Points of further ones are refused and counted."""
    data_dir: Path | None = None
    """Folder of all that must survive a restart; it is made where it is not there. Where it is not given, the command
    and the application take `$XDG_STATE_HOME/trimtab/telemetry`, that is `~/.local/state/trimtab/telemetry`; `null`
    keeps all in memory, and a restart forgets it.
    """
    storage: StorageConfig = StorageConfig()
    """How much is kept in that folder."""
    forwarding: tuple[BackEnd, ...] = ()
    """OTLP back-ends that all that is received goes on to; what they cannot take yet waits in `data_dir`."""
    remote_write: tuple[RemoteWrite, ...] = ()
    """Prometheus-compatible back-ends that what is recorded is written to, under Prometheus' names."""
    detection: DetectionConfig = DetectionConfig()
    """When a signal is unusual."""
    slos: Annotated[list[Objective], AfterValidator(each_name_once)] = []
    """What is promised of services, with an error budget each."""
    notify: NotifyConfig = NotifyConfig()
    """Who is told of incidents."""

    @model_validator(mode="after")
    def _forwards_from_disk(self) -> "CollectorConfig":
        for setting, backends in (("forwarding", self.forwarding), ("remote_write", self.remote_write)):
            names = [each.name for each in backends]
            if len(set(names)) < len(names):
                raise ValueError(f"{setting} must give each back-end a name of its own, got {', '.join(names)}")
        if self.forwarding and self.data_dir is None:
            raise ValueError("forwarding needs a data_dir, where what a back-end cannot take yet waits, got none")
        return self


class Collector:
    """Receives, keeps, watches and shows.

    `asgi` is the page; its lifespan starts and stops the collector. Everything but `start` and `stop` is synchronous
    and takes its time from `clock`, so that hours can be replayed in seconds.
    """

    def __init__(self, config: CollectorConfig | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config or CollectorConfig()
        self._clock = clock
        self.data = DataFolder(self.config.data_dir, self.config.storage)
        self.documents = self.data.documents
        self.storage = self.data.storage
        self.signals = RecordedSignals(self.storage)
        self._recalled: set[str] = set()
        self.series = SeriesStore(
            started_s=clock(), retention_s=self.config.retention_s, max_series=self.config.max_series
        )
        self.services: dict[str, Service] = {}
        self.watchers = Watchers(self.config.detection, self.documents, clock, self.config.slos)
        self.alerts, self.incidents = self.watchers.alerts, self.watchers.incidents
        self.notifier = Notifier(self.config.notify.channels, self.documents, clock=clock)
        self._teller = Teller(self.notifier, self.incidents.is_silenced, self.config.notify.page)
        self.incidents.listen(self._teller.take)
        self.spans = SpanStore()
        self._is_replaying = False
        self._failures = Failures(logger)
        self._expired_s = self._checkpointed_s = clock()
        self._grpc = GrpcReceiver(
            self, host=self.config.host, port=self.config.grpc_port, max_body_bytes=self.config.max_body_bytes
        )
        self._http = HttpReceiver(
            self, host=self.config.host, port=self.config.http_port, max_body_bytes=self.config.max_body_bytes
        )
        self._ticking: asyncio.Task[None] | None = None
        recorded = RecordedSeries(self.storage, {})
        self.forwarding = Forwarding(self.config.forwarding, self.data.journal)
        self.forwarding.write(self.config.remote_write, recorded, self.documents, clock)
        self._own_metrics = OwnMetrics(self.forwarding, self.data.journal)
        self.sources = Sources(
            services=self.services,
            series=self.series,
            alerts=self.alerts,
            spans=self.spans,
            storage=self.storage,
            clock=clock,
        )
        self.asgi = routes.application(
            self.sources,
            self._lifespan,
            [
                *incident_routes.routes(self.incidents, self.watchers.changes, clock),
                *slo_routes.routes(self.watchers.budgets, clock),
                *drift_routes.routes(self.watchers.drift, clock),
                *query_routes(self.storage, recorded, clock),
            ],
        )

    @property
    def grpc_port(self) -> int:
        """The port that OTLP/gRPC listens on, once started."""
        return self._grpc.port

    @property
    def http_port(self) -> int:
        """The port that OTLP/HTTP listens on, once started."""
        return self._http.port

    async def start(self) -> None:
        """Listen on both ports.

        Raises:
            PortTakenError: another process listens on one of them.
        """
        self._replay()
        await self._grpc.start()
        try:
            await self._http.start()
        except OSError:
            await self._grpc.stop()
            raise
        self.notifier.start()
        self.forwarding.start()
        self._ticking = asyncio.create_task(self._tick_forever())
        logger.info("OTLP is received on %s, gRPC %d, HTTP %d", self.config.host, self.grpc_port, self.http_port)

    async def stop(self) -> None:
        """Stop listening; what was kept stays readable."""
        if self._ticking:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        await self.notifier.stop()
        await self._http.stop()
        await self._grpc.stop()
        await self.forwarding.stop()
        self.watchers.save()
        self.checkpoint()
        await asyncio.to_thread(self.data.close)

    def receive_metrics(self, request: ExportMetricsServiceRequest, peer: Peer = NOBODY) -> Refusal:
        """Keep the points and watch what they add.

        Raises:
            JournalError: there is no room: nothing of it was taken.
        """
        self.data.receive("metrics", request.SerializeToString(), self._clock(), peer)
        return self._take_metrics(request, peer)

    def _take_metrics(self, request: ExportMetricsServiceRequest, peer: Peer) -> Refusal:
        now_s = self._clock()
        outcome = self.series.ingest(request, now_s, peer)
        added: dict[str, list[Increment]] = defaultdict(list)
        for increment in outcome.increments:
            added[increment.key.service].append(increment)
        for name, increments in added.items():
            service = self.services.get(name)
            if service is None:
                service = self.services[name] = Service(name, now_s=now_s, retention_s=self.config.retention_s)
            with self._failures.contained(f"watching {name}"):
                service.add(increments, now_s)
                self._watch(service, now_s)
        return Refusal(num_refused=outcome.num_refused, reason=outcome.reason)

    def receive_traces(self, request: ExportTraceServiceRequest, peer: Peer = NOBODY) -> Refusal:
        """Keep spans.

        Raises:
            JournalError: there is no room: nothing of it was taken.
        """
        body = request.SerializeToString()
        self.data.receive("traces", body, self._clock(), peer)
        return self._take_traces(request, body, peer)

    def _take_traces(self, request: ExportTraceServiceRequest, body: bytes, peer: Peer) -> Refusal:
        num_refused, reason = self.spans.ingest(request, peer)
        self.storage.add_spans(request, body, self._clock())
        return Refusal(num_refused=num_refused, reason=reason)

    def receive_logs(self, request: ExportLogsServiceRequest, peer: Peer = NOBODY) -> Refusal:
        """Keep log records.

        Raises:
            JournalError: there is no room: nothing of it was taken.
        """
        body = request.SerializeToString()
        self.data.receive("logs", body, self._clock(), peer)
        return self._take_logs(request, body)

    def _take_logs(self, request: ExportLogsServiceRequest, body: bytes) -> Refusal:
        self.storage.add_logs(request, body, self._clock())
        return Refusal()

    def tick(self) -> None:
        """Do what is due: end frames that wait for silent instances, forget what is older than the retention.

        What goes wrong with one service is logged once and concerns that service alone.
        """
        now_s = self._clock()
        for name, service in self.services.items():
            with self._failures.contained(f"watching {name}"):
                self._watch(service, now_s)
                if not self._is_replaying:
                    self.watchers.look(service)
        if not self._is_replaying:
            self.watchers.tick(self.services)
        if now_s - self._checkpointed_s >= self.config.storage.checkpoint_s:
            self.checkpoint()
        if now_s - self._expired_s < EXPIRY_S:
            return
        self._expired_s = now_s
        self._teller.take_up(self.incidents)
        self.series.expire(now_s)
        for name, service in list(self.services.items()):
            service.expire(now_s)
            if now_s - service.touched_s > self.config.retention_s:
                del self.services[name]
                self._recalled.discard(name)

    def checkpoint(self) -> None:
        """Have all that was taken written, with the place in the journal that it reaches to."""
        self._checkpointed_s = self._clock()
        self.data.checkpoint(self._checkpointed_s)

    def _replay(self) -> None:
        """Take again, at the times at which they came, the requests that no checkpoint holds; what was made of them by
        the watchers has survived by itself."""
        clock, ticked_s, self._is_replaying = self._clock, 0.0, True
        try:
            for record in self.data.unwritten():
                self._clock = partial(float, record.time_s)
                with self._failures.contained("a request from the journal"):
                    self._take(record)
                if record.time_s - ticked_s >= TICK_S:
                    ticked_s = record.time_s
                    self.tick()
        finally:
            self._clock, self._is_replaying = clock, False

    def _take(self, record: Record) -> None:
        peer = sender_of(record)
        if record.signal == "metrics":
            self._take_metrics(ExportMetricsServiceRequest.FromString(record.body), peer)
        elif record.signal == "traces":
            self._take_traces(ExportTraceServiceRequest.FromString(record.body), record.body, peer)
        else:
            self._take_logs(ExportLogsServiceRequest.FromString(record.body), record.body)

    def _watch(self, service: Service, now_s: float) -> None:
        if service.name not in self._recalled:
            self._recalled.add(service.name)
            self.signals.recall(service, now_s - self.config.retention_s, now_s)
        frame = service.frame(now_s)
        if frame is None:
            if not service.alive(now_s):
                self.signals.end(service.name, now_s)
            return
        self.signals.record(service.name, frame.time_s, frame.signals)
        if not self._is_replaying:
            self.watchers.see(service.name, frame)

    async def _tick_forever(self) -> None:
        reported_s = self._clock()
        while True:
            await asyncio.sleep(TICK_S)
            with self._failures.contained("a tick of the collector"):
                self.tick()
            if self.data.journal and self._clock() - reported_s >= OWN_METRICS_S:
                reported_s = self._clock()
                with self._failures.contained("the collector's report on itself"):
                    self.receive_metrics(self._own_metrics.request(reported_s))

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:  # noqa: ARG002 - Starlette's signature
        await self.start()
        try:
            yield
        finally:
            await self.stop()
