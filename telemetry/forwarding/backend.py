"""What `forwarding:` says of one back-end."""

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from telemetry.errors import TelemetryError
from telemetry.journal.record import Signal

SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")


class Secret(BaseModel):
    """A value that stands elsewhere than in the configuration: in a file, or in an environment variable."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    file: Path | None = None
    """File that holds the value; spaces and line ends around it are left out."""
    env: str | None = None
    """Environment variable that holds the value."""

    @model_validator(mode="after")
    def _one_place(self) -> "Secret":
        if (self.file is None) == (self.env is None):
            raise ValueError("a secret must name either a file or an env, and not both")
        return self

    def value(self) -> str:
        """The value itself.

        Raises:
            SecretError: it is not where it should be.
        """
        if self.env is not None:
            if self.env not in os.environ:
                raise SecretError(f"the environment variable {self.env} must hold a secret, and is not set")
            return os.environ[self.env].strip()
        assert self.file is not None
        try:
            return self.file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError(f"{self.file} must hold a secret, and cannot be read: {error}") from None


class SecretError(TelemetryError):
    """A secret is not where the configuration says."""


class Tls(BaseModel):
    """Whom to trust, and how to say who we are."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ca_file: Path | None = None
    """Certificates (PEM) that may have signed the back-end's own; the system's where it is not set."""
    cert_file: Path | None = None
    """The collector's own certificate (PEM), for back-ends that ask for one."""
    key_file: Path | None = None
    """Key of `cert_file`."""

    @model_validator(mode="after")
    def _both(self) -> "Tls":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file must be set together")
        for name, path in (("ca_file", self.ca_file), ("cert_file", self.cert_file), ("key_file", self.key_file)):
            if path is not None and not path.is_file():
                raise ValueError(f"{name} must be a file, got {path}")
        return self


def _is_endpoint(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"endpoint must begin with http:// or https:// and name a host, got {_shown(endpoint)!r}")
    if parts.username or parts.password:
        raise ValueError("endpoint must hold no password; send it as a header, from a file or an env")
    return endpoint.rstrip("/")


def _shown(endpoint: str) -> str:
    return endpoint.rpartition("@")[2][:200]


Endpoint = Annotated[str, AfterValidator(_is_endpoint)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]


class _Target(BaseModel):
    """Where something goes to, and as whom."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    name: Name
    """What it is called in the log and in metrics; how far it has come is kept under this name."""
    endpoint: Endpoint
    """Its URL."""
    headers: dict[HeaderName, SecretStr | Secret] = Field(default_factory=dict)
    """Sent with each request. A secret is best named by `{file: …}` or `{env: …}`; none is ever logged."""
    tls: Tls = Tls()
    """Certificates, where `endpoint` is `https`."""
    timeout_s: float = Field(default=10.0, gt=0, le=120)
    """Seconds for one request with its answer, after which it is sent again."""

    def metadata(self) -> dict[str, str]:
        """The headers as they are sent, names in lower case.

        Raises:
            SecretError: a secret is not where it should be.
        """
        return {name.lower(): _sendable(name, each) for name, each in self.headers.items()}


class BackEnd(_Target):
    """One OTLP back-end that all that is received goes on to."""

    endpoint: Endpoint
    """Such as `http://tempo:4317`; `https` speaks TLS. Over HTTP, `/v1/traces` and so on are put after it."""
    protocol: Literal["grpc", "http/protobuf"] = "grpc"
    """How it is spoken to."""
    compression: Literal["gzip", "none"] = "gzip"
    """How requests are made smaller."""
    signals: tuple[Signal, ...] = SIGNALS
    """What it gets."""
    batch_bytes: int = Field(default=1024 * 1024, ge=1024, le=64 * 2**20)
    """Bytes, before compression, up to which what was received is sent in one request; larger requests go alone."""


class RemoteWrite(_Target):
    """One back-end that takes what was recorded by Prometheus' remote write 1.0."""

    endpoint: Endpoint
    """Such as `http://prometheus:9090/api/v1/write`."""
    batch_samples: int = Field(default=5000, ge=100, le=100_000)
    """Samples up to which series are sent in one request."""


def _sendable(name: str, header: SecretStr | Secret) -> str:
    value = header.get_secret_value() if isinstance(header, SecretStr) else header.value()
    if not value.isascii() or not value.isprintable():
        raise SecretError(f"the header {name} must be of printable ASCII characters on one line, and is not")
    return value
