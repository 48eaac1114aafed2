"""Who may send, and how much."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from telemetry.errors import ConfigurationError
from telemetry.receivers.receiver import Tls


class ReceiverConfig(BaseModel):
    """Who may send by OTLP, how much memory that takes, and how many series."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    tls_certificate: Path | None = None
    """PEM file of the certificate, and of the chain behind it, that both ports are encrypted with; none is plain."""
    tls_key: Path | None = None
    """PEM file of its private key; where none is given it stands in the certificate's file."""
    tls_client_ca: Path | None = None
    """PEM file of the authority that must have signed the senders' certificates; none asks for none."""
    tokens: Path | None = None
    """File of bearer tokens, one a line, `#` before a comment: without one of them nobody may send. None lets everyone.
    """
    memory_bytes: int = Field(default=64 * 2**20, ge=2**20)
    """Largest sum of the requests that are being received, at least twice `max_body_bytes`; further ones are asked to
    come again a second later.
    """
    max_sender_series: int = Field(default=5000, gt=0)
    """Series of one process; further ones are added up in one series a metric, `otel.metric.overflow=true`."""

    @model_validator(mode="after")
    def _belongs_together(self) -> "ReceiverConfig":
        if self.tls_certificate is None and (self.tls_key or self.tls_client_ca):
            raise ValueError("tls_key and tls_client_ca need a tls_certificate")
        return self

    def tls(self) -> Tls | None:
        """The files of TLS, None where it is off.

        Raises:
            ConfigurationError: one of them cannot be read.
        """
        if self.tls_certificate is None:
            return None
        found = Tls(
            certificate=self.tls_certificate, key=self.tls_key or self.tls_certificate, client_ca=self.tls_client_ca
        )
        for name, path in (("certificate", found.certificate), ("key", found.key), ("client_ca", found.client_ca)):
            try:
                if path is not None:
                    path.read_bytes()
            except OSError as error:
                raise ConfigurationError(f"tls_{name}: {path} must be readable, got {error.strerror}") from None
        return found
