"""Where one signal is sent, as OpenTelemetry's variables say it.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

logger = logging.getLogger(__name__)

Signal = Literal["metrics", "traces", "logs"]
Protocol = Literal["grpc", "http/protobuf"]
Compression = Literal["none", "gzip"]

TIMEOUT_S = 10.0
"""OpenTelemetry's default."""
_PORTS: dict[Protocol, int] = {"grpc": 4317, "http/protobuf": 4318}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One collector, for one signal."""

    url: str
    """With HTTP the whole path of the signal, with gRPC what comes before it."""
    protocol: Protocol = "grpc"
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float = TIMEOUT_S
    compression: Compression = "none"
    certificate: str | None = None
    """File of the certificates that the collector's is checked against; the system's if not given."""
    client_key: str | None = None
    client_certificate: str | None = None
    insecure: bool = False
    """Whether gRPC goes without TLS where the URL names no scheme."""

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken."""
        scheme = urlsplit(self.url).scheme
        return scheme == "https" or (scheme not in ("http", "https") and not self.insecure)

    @property
    def target(self) -> str:
        """Host and port."""
        parts = urlsplit(self.url if "://" in self.url else f"//{self.url}")
        port = parts.port or (_PORTS["grpc"] if self.protocol == "grpc" else (443 if self.is_secure else 80))
        host = parts.hostname or ""
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def is_same(self, other: "Endpoint") -> bool:
        """Whether both are one collector on this host or another."""
        return self.target.replace("127.0.0.1", "localhost") == other.target.replace("127.0.0.1", "localhost")


def endpoint_of(signal: Signal, variables: Mapping[str, str]) -> Endpoint:
    """Where `OTEL_EXPORTER_OTLP_*` send the signal; its own form of a variable goes before the general one."""

    def given(name: str) -> str | None:
        own, general = f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"
        return variables.get(own, "").strip() or variables.get(general, "").strip() or None

    protocol: Protocol = "grpc"
    match given("PROTOCOL"):
        case None | "grpc":
            pass
        case "http/protobuf":
            protocol = "http/protobuf"
        case other:
            logger.warning("OTEL_EXPORTER_OTLP_PROTOCOL must be grpc or http/protobuf, got %r: grpc is used", other)
    compression: Compression = "none"
    match given("COMPRESSION"):
        case None | "none":
            pass
        case "gzip":
            compression = "gzip"
        case other:
            logger.warning("OTEL_EXPORTER_OTLP_COMPRESSION must be gzip or none, got %r: none is used", other)
    headers = parse_env_headers(given("HEADERS") or "", liberal=True)
    return Endpoint(
        url=_url(signal, protocol, variables),
        protocol=protocol,
        headers=tuple(headers.items()),
        timeout_s=milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", given("TIMEOUT"), TIMEOUT_S),
        compression=compression,
        certificate=given("CERTIFICATE"),
        client_key=given("CLIENT_KEY"),
        client_certificate=given("CLIENT_CERTIFICATE"),
        insecure=(given("INSECURE") or "").lower() == "true",
    )


def is_named(signal: Signal, variables: Mapping[str, str]) -> bool:
    """Whether the variables say where the signal goes."""
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    return any(variables.get(name, "").strip() for name in (own, "OTEL_EXPORTER_OTLP_ENDPOINT"))


def collector(url: str, variables: Mapping[str, str]) -> Endpoint:
    """Trimtab's own collector; a token and a certificate for it are not OpenTelemetry's, whose are for others."""
    token = variables.get("TRIMTAB_COLLECTOR_TOKEN")
    plain = Endpoint(url=url, timeout_s=3.0, certificate=variables.get("TRIMTAB_COLLECTOR_CERTIFICATE") or None)
    return replace(plain, headers=(("authorization", f"Bearer {token}"),)) if token else plain


def milliseconds(name: str, given: str | None, default_s: float) -> float:
    """A duration as OpenTelemetry writes it, in seconds."""
    if given is None:
        return default_s
    try:
        found = float(given) / 1000
    except ValueError:
        found = -1.0
    if not 0 < found < float("inf"):
        logger.warning("%s must be a positive number of milliseconds, got %r: %g is used", name, given, default_s * 1e3)
        return default_s
    return found


def _url(signal: Signal, protocol: Protocol, variables: Mapping[str, str]) -> str:
    own = variables.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "").strip()
    if own:
        return own
    general = variables.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip() or f"http://localhost:{_PORTS[protocol]}"
    return general if protocol == "grpc" else f"{general.rstrip('/')}/v1/{signal}"
