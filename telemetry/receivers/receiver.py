"""What both OTLP receivers, gRPC and HTTP, have in common: what they are told to refuse, ports, certificates.

sender -> GrpcReceiver | HttpReceiver -> Intake -> Sink -> Refusal (as OTLP's partial success)
"""

import errno
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What was not taken of a request that was otherwise accepted; a sender must not send it again."""

    num_refused: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Tls:
    """PEM files that a port is encrypted with."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """Who must have signed the senders' certificates; None asks for none."""


class PortTakenError(OSError):
    """A port to listen on belongs to another process."""

    def __init__(self, setting: str, host: str, port: int) -> None:
        super().__init__(
            errno.EADDRINUSE,
            f"{setting} must be free on {host}, got {port}, on which another process listens; "
            f"stop that process (perhaps another collector) or set {setting} to another port",
        )


def listen(setting: str, host: str, port: int) -> socket.socket:
    """A listening socket; 0 takes any free port.

    Raises:
        PortTakenError: another process listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(setting, host, port) from None
        raise
    listener.setblocking(False)
    return listener
