"""The collector: OTLP in, series, signals, alerts and a page out, all on one event loop.

receivers -> SeriesStore -> Service -> Watcher -> AlertBook
                 '-------------'-----------------------'----> page
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette

from telemetry.config import CollectorConfig
from telemetry.drift import routes as drift_routes
from telemetry.failures import Failures
from telemetry.forwarding.forwarding import Forwarding
from telemetry.incidents import routes as incident_routes
from telemetry.incidents.calls import calls_of
from telemetry.incidents.told import changes_told
from telemetry.journal.record import Signal
from telemetry.notify.notifier import Notifier
from telemetry.notify.telling import Teller
from telemetry.own_metrics import EVERY_S as OWN_METRICS_S
from telemetry.own_metrics import OwnMetrics
from telemetry.page import routes
from telemetry.page.sources import Sources
from telemetry.queries.recorded import RecordedSeries
from telemetry.queries.routes import query_routes
from telemetry.receivers.grpc import GrpcReceiver
from telemetry.receivers.http import HttpReceiver
from telemetry.receivers.intake import Intake
from telemetry.receivers.memory import MemoryLimit
from telemetry.receivers.origin import NOBODY, Peer
from telemetry.receivers.receiver import Refusal
from telemetry.receivers.tokens import Tokens
from telemetry.series.recording import Recording
from telemetry.series.service import Service
from telemetry.series.store import SeriesStore
from telemetry.series.traces import SpanStore
from telemetry.slo import routes as slo_routes
from telemetry.storage.data_folder import DataFolder, sender_of
from telemetry.storage.signals import RecordedSignals
from telemetry.watching.watchers import Watchers

logger = logging.getLogger(__name__)

TICK_S = 0.25
SETTLE_S = 0.1
"""Longest that points wait for others to be settled with."""
EXPIRY_S = 30.0
MOST_WAITING_BYTES = 16 * 2**20
"""A checkpoint comes early where so much waits in memory for it."""
REPEAT_S = 60.0
"""A gauge that its process leaves out, as it is constant, is kept again so often: a query looks back for minutes."""
STATE, STARTED = "series", "started"


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
            started_s=clock(),
            retention_s=self.config.retention_s,
            max_series=self.config.max_series,
            max_sender_series=self.config.receivers.max_sender_series,
            recorder=Recording(self.storage),
            prices=self.config.prices,
        )
        self.services = self.series.services
        self.spans = SpanStore()
        self.watchers = Watchers(
            self.config.detection, self.documents, clock, self.config.slos, lambda: calls_of(self.spans.all())
        )
        self.alerts, self.incidents = self.watchers.alerts, self.watchers.incidents
        self.notifier = Notifier(self.config.notify.channels, self.documents, clock=clock)
        notify = self.config.notify
        self._teller = Teller(self.notifier, self.incidents.is_silenced, notify.page, notify.runbooks)
        self.incidents.listen(self._teller.take)
        self._is_replaying = False
        self._failures = Failures(logger)
        self._started_s = self._expired_s = self._checkpointed_s = self._repeated_s = clock()
        receivers = self.config.receivers
        self.intake = Intake(
            self,
            max_body_bytes=self.config.max_body_bytes,
            memory=MemoryLimit(max(receivers.memory_bytes, 2 * self.config.max_body_bytes)),
            tokens=Tokens(receivers.tokens) if receivers.tokens else None,
        )
        tls = receivers.tls()
        self._grpc = GrpcReceiver(self.intake, host=self.config.host, port=self.config.grpc_port, tls=tls)
        self._http = HttpReceiver(self.intake, host=self.config.host, port=self.config.http_port, tls=tls)
        self._ticking: asyncio.Task[None] | None = None
        self._settling: asyncio.TimerHandle | None = None
        recorded = RecordedSeries(self.storage, self.series.units)
        self.forwarding = Forwarding(self.config.forwarding, self.data.journal)
        self.forwarding.write(self.config.remote_write, recorded, self.documents, clock)
        self._own_metrics = OwnMetrics(self.forwarding, self.data.journal, self.intake, self.series)
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
        if self.data.journal is not None:
            self.data.journal.forget_absent()
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

    def receive(self, signal: Signal, body: bytes, peer: Peer, gzipped: bytes = b"") -> Refusal:
        """Write a request down and take it; what its points add is watched within `SETTLE_S`.

        Raises:
            DecodeError: the body is no such request: nothing of it was taken.
            JournalError: there is no room: nothing of it was taken.
        """
        keep = partial(self.data.receive, signal, body, self._clock(), peer, gzipped)
        refusal = self._take(signal, body, peer, keep)
        if self.series.num_pending and self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_S, self.settle)
        return refusal

    def receive_metrics(self, request: ExportMetricsServiceRequest, peer: Peer = NOBODY) -> Refusal:
        """Keep points and watch what they add, at once; raises what `receive` does."""
        return self._receive_now("metrics", request, peer)

    def receive_traces(self, request: ExportTraceServiceRequest, peer: Peer = NOBODY) -> Refusal:
        """Keep spans; raises what `receive` does."""
        return self._receive_now("traces", request, peer)

    def receive_logs(self, request: ExportLogsServiceRequest, peer: Peer = NOBODY) -> Refusal:
        """Keep log records; raises what `receive` does."""
        return self._receive_now("logs", request, peer)

    def settle(self) -> None:
        """Watch what the requests that wait have added."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        now_s = self._clock()
        for service in self.series.settle():
            with self._failures.contained(f"watching {service.name}"):
                self._watch(service, now_s)

    def _receive_now(self, signal: Signal, request: Message, peer: Peer) -> Refusal:
        body = request.SerializeToString()
        refusal = self._take(signal, body, peer, partial(self.data.receive, signal, body, self._clock(), peer))
        self.settle()
        return refusal

    def _take(self, signal: Signal, body: bytes, peer: Peer, keep: Callable[[], None] = lambda: None) -> Refusal:
        """Take a request; `keep` is called once it is known to be sound, before anything of it is taken."""
        now_s = self._clock()
        match signal:
            case "metrics":
                outcome = self.series.ingest(body, now_s, peer, keep)
                return Refusal(num_refused=outcome.num_refused, reason=outcome.reason)
            case "traces":
                traces = ExportTraceServiceRequest.FromString(body)
                keep()
                num_refused, reason = self.spans.ingest(traces, peer)
                self.storage.add_spans(traces, body, now_s)
                return Refusal(num_refused=num_refused, reason=reason)
            case "logs":
                logs = ExportLogsServiceRequest.FromString(body)
                keep()
                self.storage.add_logs(logs, body, now_s)
                for change in changes_told(logs, now_s):
                    self.watchers.told(change)
                return Refusal()

    def tick(self) -> None:
        """Do what is due: end frames that wait for silent instances, forget what is older than the retention.

        What goes wrong with one service is logged once and concerns that service alone.
        """
        now_s = self._clock()
        self.settle()
        self.series.describe(now_s)
        for name, service in self.services.items():
            with self._failures.contained(f"watching {name}"):
                self._watch(service, now_s)
                if not self._is_replaying:
                    self.watchers.look(service)
        if not self._is_replaying:
            self.watchers.tick(self.services)
        is_due = now_s - self._checkpointed_s >= self.config.storage.checkpoint_s
        if is_due or self.storage.num_waiting_bytes > MOST_WAITING_BYTES:
            self.checkpoint()
        if now_s - self._repeated_s >= REPEAT_S:
            self.series.repeat(self._repeated_s, now_s)
            self._repeated_s = now_s
        if now_s - self._expired_s < EXPIRY_S:
            return
        self._expired_s = now_s
        self._teller.take_up(self.incidents)
        self.series.expire(now_s)
        self._recalled &= self.services.keys()

    def checkpoint(self) -> None:
        """Have all that was taken written, with the place in the journal that it reaches to."""
        self._checkpointed_s = self._clock()
        states = {STATE: self.series.state(), STARTED: repr(self._started_s).encode()} if self.config.data_dir else {}
        self.data.checkpoint(self._checkpointed_s, states)

    def _replay(self) -> None:
        """Take again, at the times at which they came, the requests that no checkpoint holds; what was made of them by
        the watchers has survived by itself.

        They are taken as the collector before would have: a process that began after that one did has counted since.
        """
        clock, ticked_s, self._is_replaying = self._clock, 0.0, True
        _, states = self.storage.checkpointed()
        if STATE in states:
            with self._failures.contained("going on from the series before the restart"):
                self.series.restore(states[STATE])
                self.series.watch_since(float(states[STARTED]))
        try:
            for record in self.data.unwritten():
                self._clock = partial(float, record.time_s)
                with self._failures.contained("a request from the journal"):
                    self._take(record.signal, record.body, sender_of(record))
                if record.time_s - ticked_s >= TICK_S:
                    ticked_s = record.time_s
                    self.tick()
            self.tick()
        finally:
            self._clock, self._is_replaying = clock, False
            self.series.watch_since(self._started_s)
        self.checkpoint()

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
            self.signals.expect(service.name, frame.time_s, frame.expected)

    async def _tick_forever(self) -> None:
        reported_s = self._clock()
        while True:
            await asyncio.sleep(TICK_S)
            began_s = time.perf_counter()
            with self._failures.contained("a tick of the collector"):
                self.tick()
            own = self._own_metrics
            own.longest_tick_s = max(own.longest_tick_s, time.perf_counter() - began_s)
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
