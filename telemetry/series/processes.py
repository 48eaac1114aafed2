"""The processes that send: found by resource and connection, each in its service."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from telemetry.receivers.attributes import Attributes
from telemetry.receivers.origin import Origin, Peer, origin
from telemetry.series import targets
from telemetry.series.prices import Prices
from telemetry.series.process import Process
from telemetry.series.senders import Senders
from telemetry.series.service import Service
from telemetry.series.template import Template
from telemetry.series.templates import Known

MAX_SOURCES = 20_000


@dataclass(slots=True, kw_only=True)
class Source:
    """A resource, as it comes from one address."""

    origin: Origin
    described_as: Attributes
    """Its other attributes."""
    known: Known = field(default_factory=dict)
    process: Process | None = None
    """None where the resource does not tell its processes apart."""
    seen_s: float = 0.0


class Processes:
    """All that have sent within the retention."""

    def __init__(self, *, retention_s: float, prices: Prices | None) -> None:
        self.services: dict[str, Service] = {}
        self._retention_s = retention_s
        self._prices = prices
        self._sources: OrderedDict[tuple[bytes, str], Source] = OrderedDict()
        self._processes: dict[tuple[str, str], Process] = {}
        self._nameless = Senders()

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._processes.values()))

    def source(self, resource: bytes, peer: Peer) -> Source:
        """What is known of a resource that comes from an address."""
        key = resource, peer.address
        source = self._sources.get(key)
        if source is None:
            said = Resource.FromString(resource)
            source = self._sources[key] = Source(origin=origin(said, peer), described_as=targets.described(said))
            if len(self._sources) > MAX_SOURCES:
                self._sources.popitem(last=False)
        return source

    def find(self, source: Source, template: Template, metrics: bytes, now_s: float, peer: Peer) -> Process:
        """The process that sent `metrics`; where its resource does not say which, it is told by its totals."""
        if source.process is not None and source.process.seen_s >= now_s - self._retention_s:
            return source.process
        sender = source.origin
        if not sender.instance:
            totals = template.totals(metrics, sender.service)
            sender = sender._replace(instance=self._nameless.name(sender.service, peer, totals))
            for key, start_ns in totals:
                self._nameless.learn(key._replace(instance=sender.instance), start_ns)
        process = self.meet(sender, now_s)
        process.described_as = source.described_as
        if source.origin.instance:
            source.process = process
        return process

    def meet(self, sender: Origin, now_s: float) -> Process:
        """The process of this name, a new one where it was not known."""
        identity = sender.service, sender.instance
        process = self._processes.get(identity)
        if process is None:
            service = self.services.get(sender.service)
            if service is None:
                service = Service(sender.service, now_s=now_s, retention_s=self._retention_s, prices=self._prices)
                self.services[sender.service] = service
            process = self._processes[identity] = Process(origin=sender, service=service, seen_s=now_s)
        process.service.meet(sender, now_s)
        return process

    def forget(self, process: Process) -> None:
        """Nothing has come from it for long."""
        del self._processes[process.origin.service, process.origin.instance]
        process.service.forget(process.origin.instance)

    def expire(self, since_s: float) -> None:
        """Forget what else was of processes that are forgotten."""
        for key in [key for key, source in self._sources.items() if source.seen_s < since_s]:
            del self._sources[key]
        self._nameless.expire(set(self._processes))
        for name, service in list(self.services.items()):
            if not service.instances:
                del self.services[name]
