"""Requests one after another to some hosts of a cluster, each failure kept; a client that retries nothing."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.hosts.cluster import Cluster
from tests.hosts.maker import Host

_FEATURES = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
_PAUSE_S = 0.05


@dataclass(kw_only=True)
class Seen:
    """What the clients got."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)
    """Which host failed, and how."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, failure: str | None) -> None:
        """Count one."""
        with self.lock:
            if failure is None:
                self.answered += 1
            else:
                self.failures.append(failure)


@contextmanager
def load(cluster: Cluster, hosts: Sequence[Host], model: str = "tiny") -> Iterator[Seen]:
    """Two clients for each of `hosts`, until the end."""
    seen, end = Seen(), threading.Event()
    clients = [threading.Thread(target=_ask, args=(cluster, host, model, seen, end)) for host in hosts for _ in "ab"]
    for client in clients:
        client.start()
    try:
        yield seen
    finally:
        end.set()
        for client in clients:
            client.join()


def _ask(cluster: Cluster, host: Host, model: str, seen: Seen, end: threading.Event) -> None:
    url = cluster.url(host, f"/v2/models/{model}/infer")
    with httpx.Client(timeout=30, headers={"x-api-key": cluster.key}) as client:
        while not end.wait(_PAUSE_S):
            try:
                answer = client.post(url, json={"inputs": [_FEATURES]})
            except httpx.HTTPError as error:
                seen.add(f"{host.name}: {error!r}")
            else:
                seen.add(
                    None if answer.status_code == 200 else f"{host.name}: {answer.status_code} {answer.text[:200]}"
                )
