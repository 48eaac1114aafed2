"""Brings one back-end all that the journal holds, in order, and remembers how far it has come.

    journal -> read -> by signal -> send -> delivered | refused -> commit
                                     ^  retry: wait  |

What is read is committed once the back-end has all of it, or will never take it: a collector that dies between sends
some of it twice, which OTLP allows, and loses none.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from telemetry.failures import Failures
from telemetry.forwarding.answers import Answer
from telemetry.forwarding.backend import BackEnd
from telemetry.forwarding.backoff import Backoff
from telemetry.forwarding.delivery import Delivery, Sleep, Tally
from telemetry.forwarding.requests import by_signal, joined, num_items
from telemetry.journal.reader import Reader
from telemetry.journal.record import Signal

logger = logging.getLogger(__name__)

POLL_S = 0.2


class Client(Protocol):
    """Sends requests to one back-end."""

    async def send(self, signal: Signal, body: bytes) -> Answer:
        """Send one request of serialized OTLP, within a time of its own."""
        ...

    async def close(self) -> None:
        """Give the connections up."""
        ...


class Forwarder:
    """One back-end's reader, client and waits."""

    def __init__(
        self,
        config: BackEnd,
        reader: Reader,
        client: Client,
        *,
        sleep: Sleep = asyncio.sleep,
        new_backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self.name = config.name
        self._config = config
        self._reader = reader
        self._client = client
        self._sleep = sleep
        self._delivery = Delivery(config.name, sleep=sleep, new_backoff=new_backoff)
        self._is_stopping = False
        self._failures = Failures(logger)

    @property
    def tally(self) -> Tally:
        """What became of requests."""
        return self._delivery.tally

    @property
    def lag_bytes(self) -> int:
        """What the journal still holds for it, as stored."""
        return self._reader.lag_bytes

    @property
    def num_failures(self) -> int:
        """Unexpected errors of ours, after each of which the same requests are read again."""
        return self._failures.counts.total()

    @property
    def num_lost(self) -> int:
        """Requests that the journal had to remove before this back-end came to them."""
        return self._reader.num_lost

    async def run(self) -> None:
        """Forward until `stop`, or until the task is cancelled."""
        pause = Backoff()
        while not self._is_stopping:
            has_sent: bool | None = None
            with self._failures.contained(f"forwarding to {self.name}"):
                has_sent = await self.step()
            if has_sent is None:
                await self._sleep(pause.wait_s())
            else:
                pause.reset()
                if not has_sent:
                    await self._sleep(POLL_S)

    async def step(self) -> bool:
        """Bring the back-end what comes next; False where there is nothing."""
        records = await asyncio.to_thread(self._reader.read, self._config.batch_bytes)
        if not records:
            return False
        async with asyncio.TaskGroup() as sending:
            for signal, bodies in by_signal(records, self._config.signals).items():
                sending.create_task(self._deliver(signal, bodies))
        self._reader.commit(records[-1].place)
        return True

    def stop(self) -> None:
        """Read nothing further; what is being sent goes on, until the task is cancelled."""
        self._is_stopping = True

    async def close(self) -> None:
        """Give the connections up."""
        with contextlib.suppress(Exception):
            await self._client.close()

    async def _deliver(self, signal: Signal, bodies: list[bytes]) -> None:
        async def send(parts: Sequence[bytes]) -> Answer:
            return await self._client.send(signal, joined(parts))

        await self._delivery.deliver(signal, bodies, send, lambda parts: num_items(signal, joined(parts)))
