"""What a collector may be told: where it listens, how much it keeps, when it alerts, whom it tells."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from telemetry.forwarding.backend import BackEnd, RemoteWrite
from telemetry.named import each_name_once
from telemetry.notify.notifier import NotifyConfig
from telemetry.receivers.config import ReceiverConfig
from telemetry.series.prices import Prices
from telemetry.slo.objective import Objective
from telemetry.storage.config import StorageConfig
from telemetry.watching.detection import DetectionConfig


class CollectorConfig(BaseModel):
    """Where the collector listens, how much it keeps and when it alerts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on; beyond this host, set `receivers.tokens` and `receivers.tls_certificate`."""
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
    max_series: int = Field(default=50_000, gt=0)
    """Series that are reported at a time, all senders together; each takes up to a kilobyte of memory. Points of
    further ones are refused and counted.
    """
    receivers: ReceiverConfig = ReceiverConfig()
    """Who may send, and how much."""
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
    prices: Prices = Prices()
    """What machines cost, from which the signal `cost_per_1000` is made: a thousand requests' share of what the
    processes use."""
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
