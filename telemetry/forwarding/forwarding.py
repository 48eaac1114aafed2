"""All back-ends, each brought what it gets by a task of its own, so that none waits for another."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from telemetry.forwarding.backend import BackEnd, RemoteWrite
from telemetry.forwarding.delivery import Tally
from telemetry.forwarding.forwarder import Client, Forwarder
from telemetry.forwarding.grpc_client import GrpcClient
from telemetry.forwarding.http_client import HttpClient
from telemetry.forwarding.remote_writer import RemoteWriter
from telemetry.journal.journal import Journal
from telemetry.queries.source import Source
from telemetry.storage.documents import Documents

GRACE_S = 2.0
"""What is being sent when the collector stops may take this long; the rest stays for the next start."""


class Worker(Protocol):
    """Brings one back-end what it gets."""

    name: str

    @property
    def tally(self) -> Tally:
        """What became of requests."""
        ...

    async def run(self) -> None:
        """Work until `stop`, or until the task is cancelled."""
        ...

    def stop(self) -> None:
        """Begin nothing further."""
        ...

    async def close(self) -> None:
        """Give the connections up."""
        ...


class Forwarding:
    """Starts, stops and knows the back-ends' workers."""

    def __init__(self, backends: Sequence[BackEnd], journal: Journal | None) -> None:
        """Each at the place up to which it has everything; one that is new gets what is received from now on.

        Raises:
            SecretError: a header's secret is not where the configuration says.
        """
        for config in backends:
            config.metadata()
        self._backends = backends
        self._readers = [journal.reader(f"forward-{config.name}") for config in backends] if journal else []
        self._tasks: list[asyncio.Task[None]] = []
        self.forwarders: list[Forwarder] = []
        self.remote_writers: list[RemoteWriter] = []

    def write(
        self, backends: Sequence[RemoteWrite], source: Source, documents: Documents, clock: Callable[[], float]
    ) -> None:
        """Bring what is recorded in `source` to these as well.

        Raises:
            SecretError: a header's secret is not where the configuration says.
        """
        self.remote_writers = [RemoteWriter(config, source, documents, clock) for config in backends]

    def start(self) -> None:
        """Begin."""
        self.forwarders = [
            Forwarder(config, reader, client_of(config))
            for config, reader in zip(self._backends, self._readers, strict=True)
        ]
        self._tasks = [asyncio.create_task(worker.run()) for worker in self.workers]

    async def stop(self) -> None:
        """Finish what is being sent if that takes no longer than `GRACE_S`."""
        if not self._tasks:
            return
        for worker, task in zip(self.workers, self._tasks, strict=True):
            worker.stop()
            if not worker.tally.num_sending:
                task.cancel()
        _, late = await asyncio.wait(self._tasks, timeout=GRACE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.close() for worker in self.workers))
        self._tasks = []

    @property
    def workers(self) -> list[Worker]:
        """All of them."""
        return [*self.forwarders, *self.remote_writers]


def client_of(config: BackEnd) -> Client:
    """The client that speaks the back-end's protocol."""
    return GrpcClient(config) if config.protocol == "grpc" else HttpClient(config)
