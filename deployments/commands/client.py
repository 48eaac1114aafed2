"""A client of a Trimtab server, as small as the command line needs it.

Programs use Triton's or KServe's clients (docs/serving.md).
"""

import argparse
import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.errors import CallError

KEY, URL = "TRIMTAB_KEY", "TRIMTAB_URL"
"""Environment variables: the key to send and the server to call, where the command line names none."""
LOCAL = "http://localhost:8000"
TIMEOUT_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say which server is called, and with what key."""
    parser.add_argument("--url", default=os.environ.get(URL, LOCAL), help=f"the server; or {URL}")
    add_access(parser)


def add_access(parser: argparse.ArgumentParser) -> None:
    """Options that say how to be let in."""
    parser.add_argument("--key", default=os.environ.get(KEY), help=f"a key, where the server asks for one; or {KEY}")
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="trust this certificate of the server too")


def of(options: argparse.Namespace) -> "Client":
    """The server that they name."""
    return Client(url=options.url.rstrip("/"), key=options.key, certificate=options.certificate)


@dataclass(frozen=True, kw_only=True)
class Client:
    """Where a server is and how to be let in."""

    url: str
    key: str | None = None
    certificate: Path | None = None
    """A PEM file to trust beside the system's certificates, for a server with one of its own."""

    def get(self, path: str) -> Any:
        """What `path` answers, as JSON.

        Raises:
            CallError: the server does not answer, or refuses; the message is its own.
        """
        return json.loads(self.ask("GET", path)[1])

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPMessage, bytes]:
        """Headers and body of the answer.

        Raises:
            CallError: the server does not answer, or refuses; the message is its own.
        """
        request = urllib.request.Request(
            self.url + path, body, {**self.credentials(), **(headers or {})}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self.trust()) as answer:
                return answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            raise CallError(f"{method} {path}: {_reason(error)}", status=error.code) from error
        except (urllib.error.URLError, TimeoutError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise CallError(
                f"{self.url} does not answer: {reason}. Is it served? `serve run serve_config.yaml`; "
                "--url names another server"
            ) from error
        except ValueError as error:
            raise CallError(f"--url must be like http://localhost:8000, got {self.url!r}") from error

    def credentials(self) -> dict[str, str]:
        """The headers that let a request in."""
        return {"X-API-Key": self.key} if self.key else {}

    def trust(self) -> ssl.SSLContext | None:
        """Whose certificates are believed; none where the server speaks no TLS."""
        if not self.url.startswith("https:"):
            return None
        context = ssl.create_default_context()
        if self.certificate is not None:
            try:
                context.load_verify_locations(self.certificate)
            except (OSError, ssl.SSLError) as error:
                raise CallError(f"--certificate must be a PEM file, got {self.certificate}: {error}") from error
        return context


def _reason(error: urllib.error.HTTPError) -> str:
    """What the server said, or at least its status."""
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}"
