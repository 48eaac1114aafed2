"""Measures a running server, one request at a time: how long calls of several sizes take, and what is not the model."""

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from deployments.commands.client import TIMEOUT_S, Client
from deployments.errors import CallError, InputError
from deployments.planning.service import Samples

SIZES = (1, 2, 4, 8, 16)
"""How many times the given request the measured ones hold."""
LONGEST_S = 0.25
"""No larger request is measured once one has taken so long."""
OF_ONE = 4
"""So many times as often as others is the smallest request sent: most calls are of few samples."""
WARM = 3
_JSON_LENGTH = "Inference-Header-Content-Length"

Progress = Callable[[float], None]
"""Told the seconds gone."""


def measured(
    client: Client, model: str, request: tuple[bytes, Mapping[str, str]], duration_s: float, progress: Progress
) -> Samples:
    """Ask the server for about `duration_s` seconds, with `request` and with larger ones made of it.

    Raises:
        CallError: the server does not answer, or refuses.
        InputError: the request cannot be made larger.
    """
    config = client.get(f"/v2/models/{model}/config")
    most = int(config.get("dynamic_batching", {"preferred_batch_size": [1]})["preferred_batch_size"][0])
    server = _Connection(client, f"/v2/models/{model}")
    try:
        return _measured(server, request, max(1, most // _rows(*request)), duration_s, progress)
    finally:
        server.close()


def _measured(
    server: "_Connection",
    request: tuple[bytes, Mapping[str, str]],
    most: int,
    duration_s: float,
    progress: Progress,
) -> Samples:
    requests: dict[int, tuple[bytes, Mapping[str, str]]] = {}
    for size in SIZES:
        if size > most:
            break
        requests[size] = repeated(*request, size)
        took_s = min(server.infer(*requests[size]) for _ in range(WARM))
        if took_s > LONGEST_S:
            break
    latency_s: dict[int, list[float]] = {size: [] for size in requests}
    empty_s: list[float] = []
    began = time.perf_counter()
    while (gone_s := time.perf_counter() - began) < duration_s or len(empty_s) < WARM:
        progress(gone_s)
        for size, each in requests.items():
            for _ in range(OF_ONE if size == 1 else 1):
                latency_s[size].append(server.infer(*each))
                empty_s.append(server.ready())
    return Samples(
        latency_s={size: tuple(times) for size, times in latency_s.items()},
        empty_s=tuple(empty_s),
        max_batch_size=most,
    )


def _rows(body: bytes, headers: Mapping[str, str]) -> int:
    return max(1, int(_described(body, headers)["inputs"][0]["shape"][0]))


def _described(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The request's JSON.

    Raises:
        InputError: it has none, or no inputs of some rows.
    """
    try:
        described: dict[str, Any] = json.loads(body[: int(headers.get(_JSON_LENGTH, len(body)))])
        if all(int(each["shape"][0]) > 0 for each in described["inputs"]) and described["inputs"]:
            return described
        reason = "inputs without rows"
    except (ValueError, KeyError, TypeError, IndexError) as error:
        reason = repr(error)
    raise InputError(f"the request must be one of the protocol, with `inputs` of a shape: got {reason}")


def repeated(body: bytes, headers: Mapping[str, str], times: int) -> tuple[bytes, Mapping[str, str]]:
    """The same request with each input's rows so many times.

    Raises:
        InputError: it is no request of the protocol.
    """
    if times == 1:
        return body, headers
    described = _described(body, headers)
    raw, at = b"", int(headers.get(_JSON_LENGTH, len(body)))
    for each in described["inputs"]:
        each["shape"] = [each["shape"][0] * times, *each["shape"][1:]]
        if "data" in each:
            each["data"] = each["data"] * times
            continue
        size = each["parameters"]["binary_data_size"]
        raw, at = raw + body[at : at + size] * times, at + size
        each["parameters"]["binary_data_size"] = size * times
    header = json.dumps(described).encode()
    return header + raw, {**headers, **({_JSON_LENGTH: str(len(header))} if raw else {})}


class _Connection:
    """One connection, kept open, to one model of a server."""

    def __init__(self, client: Client, path: str) -> None:
        target = urlsplit(client.url)
        self._client, self._path = client, path
        host, port = target.hostname or "localhost", target.port
        if trust := client.trust():
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=TIMEOUT_S, context=trust
            )
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)

    def infer(self, body: bytes, headers: Mapping[str, str]) -> float:
        """Seconds until the request was answered."""
        return self._asked("POST", "/infer", body, headers)

    def ready(self) -> float:
        """Seconds until the model has said that it is ready."""
        return self._asked("GET", "/ready", None, {})

    def close(self) -> None:
        self._connection.close()

    def _asked(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> float:
        where = f"{method} {self._path}{path}"
        began = time.perf_counter()
        try:
            self._connection.request(method, self._path + path, body, {**self._client.credentials(), **headers})
            with self._connection.getresponse() as answer:
                content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CallError(f"{where}: {self._client.url} broke off: {error!r}") from error
        if answer.status != 200:
            raise CallError(f"{where}: status {answer.status}: {content[:200]!r}", status=answer.status)
        return time.perf_counter() - began
