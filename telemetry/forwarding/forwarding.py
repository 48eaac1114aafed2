"""All back-ends, each forwarded to by a task of its own, so that none waits for another."""

import asyncio
from collections.abc import Sequence

from telemetry.forwarding.backend import BackEnd
from telemetry.forwarding.forwarder import Client, Forwarder
from telemetry.forwarding.grpc_client import GrpcClient
from telemetry.forwarding.http_client import HttpClient
from telemetry.journal.journal import Journal

GRACE_S = 2.0
"""What is being sent when the collector stops may take this long; the rest stays in the journal for the next start."""


class Forwarding:
    """Starts, stops and knows the forwarders."""

    def __init__(self, backends: Sequence[BackEnd], journal: Journal) -> None:
        """Each at the place up to which it has everything; one that is new gets what is received from now on.

        Raises:
            SecretError: a header's secret is not where the configuration says.
        """
        for config in backends:
            config.metadata()
        self._backends = backends
        self._readers = [journal.reader(f"forward-{config.name}") for config in backends]
        self._tasks: list[asyncio.Task[None]] = []
        self.forwarders: list[Forwarder] = []

    def start(self) -> None:
        """Begin to forward."""
        self.forwarders = [
            Forwarder(config, reader, client_of(config))
            for config, reader in zip(self._backends, self._readers, strict=True)
        ]
        self._tasks = [
            asyncio.create_task(forwarder.run(), name=f"forward to {forwarder.name}") for forwarder in self.forwarders
        ]

    async def stop(self) -> None:
        """Finish what is being sent if that takes no longer than `GRACE_S`."""
        for forwarder, task in zip(self.forwarders, self._tasks, strict=True):
            forwarder.stop()
            if not forwarder.num_sending:
                task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(forwarder.close() for forwarder in self.forwarders))
        self._tasks = []


def client_of(config: BackEnd) -> Client:
    """The client that speaks the back-end's protocol."""
    return GrpcClient(config) if config.protocol == "grpc" else HttpClient(config)
