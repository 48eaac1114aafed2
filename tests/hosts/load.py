"""Requests one after another to some hosts of a cluster, each failure kept; nothing is sent again but to another."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import numpy as np

from tests.conftest import expected_probabilities
from tests.hosts.cluster import Cluster
from tests.hosts.maker import Host

_FEATURES = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
_EXPECTED = expected_probabilities(np.array([[1, 2, 3, 4]], np.float32)).ravel()
_PAUSE_S = 0.05
_CONNECT_S = 5
"""How long a client that can ask another host waits for one."""


@dataclass(kw_only=True)
class Seen:
    """What the clients got."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)
    """Which host failed, and how."""
    wrong: int = 0
    """Answers with other numbers than the model's."""
    versions: list[tuple[float, float, str]] = field(default_factory=list)
    """When each request that was answered began and ended, and by which version."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __str__(self) -> str:
        return f"{self.answered} answered, {self.wrong} wrong, {len(self.failures)} failed {self.failures[:3]}"

    def add(self, answer: httpx.Response | httpx.HTTPError, host: Host, began: float) -> None:
        """Count one, that began then."""
        with self.lock:
            if isinstance(answer, httpx.HTTPError):
                self.failures.append(f"{host.name}: {answer!r}")
            elif answer.status_code != 200:
                self.failures.append(f"{host.name}: {answer.status_code} {answer.text[:200]}")
            else:
                self.answered += 1
                told = answer.json()
                self.wrong += not np.allclose(told["outputs"][0]["data"], _EXPECTED, rtol=1e-4)
                self.versions.append((began, time.monotonic(), told["model_version"]))


@contextmanager
def load(
    cluster: Cluster, hosts: Sequence[Host], model: str = "tiny", *, instead: Host | None = None
) -> Iterator[Seen]:
    """Two clients for each of `hosts`, until the end; what cannot be sent to their host they ask of `instead`."""
    seen, end = Seen(), threading.Event()
    clients = [
        threading.Thread(target=_ask, args=(cluster, [host, *filter(None, [instead])], model, seen, end))
        for host in hosts
        for _ in "ab"
    ]
    for client in clients:
        client.start()
    try:
        yield seen
    finally:
        end.set()
        for client in clients:
            client.join()


def _ask(cluster: Cluster, hosts: Sequence[Host], model: str, seen: Seen, end: threading.Event) -> None:
    with httpx.Client(timeout=30, headers={"x-api-key": cluster.key}) as client:
        while not end.wait(_PAUSE_S):
            began = time.monotonic()
            for host in hosts:
                url = cluster.url(host, f"/v2/models/{model}/infer")
                answer = _sent(client, url, _CONNECT_S if len(hosts) > 1 else 30)
                if not isinstance(answer, httpx.HTTPError) or host is hosts[-1]:
                    seen.add(answer, host, began)
                    break


def _sent(client: httpx.Client, url: str, timeout_s: float) -> httpx.Response | httpx.HTTPError:
    try:
        return client.post(url, json={"inputs": [_FEATURES]}, timeout=timeout_s)
    except httpx.HTTPError as error:
        return error
