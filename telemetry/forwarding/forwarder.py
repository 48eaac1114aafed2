"""Brings one back-end all that the journal holds, in order, and remembers how far it has come.

    journal -> read -> by signal -> send -> delivered | refused -> commit
                                     ^  retry: wait  |

What is read is committed once the back-end has all of it, or will never take it: a collector that dies between sends
some of it twice, which OTLP allows, and loses none.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from telemetry.failures import Failures
from telemetry.forwarding.answers import Answer
from telemetry.forwarding.backend import BackEnd
from telemetry.forwarding.backoff import Backoff
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


@dataclass(slots=True)
class Tally:
    """What has become of requests to one back-end since the collector began."""

    num_delivered: int = 0
    """Requests, each of which may hold many that were received."""
    delivered_bytes: int = 0
    """Their serialized sizes, before compression."""
    num_retries: int = 0
    """Tries that failed and were, or will be, made again."""
    num_refused_items: int = 0
    """Spans, points and records that the back-end itself says it did not take, of requests that it took."""
    num_dropped_items: int = 0
    """Spans, points and records of requests that it refused for good."""
    last_reason: str = ""
    """What was wrong last."""


class Forwarder:
    """One back-end's reader, client and waits."""

    def __init__(
        self,
        config: BackEnd,
        reader: Reader,
        client: Client,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self.tally = Tally()
        self.config = config
        self._reader = reader
        self._client = client
        self._sleep = sleep
        self._new_backoff = new_backoff
        self.num_sending = 0
        """Requests on their way."""
        self._is_stopping = False
        self._logged: set[str] = set()
        self._failures = Failures(logger)

    @property
    def name(self) -> str:
        """The back-end's."""
        return self.config.name

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
        records = await asyncio.to_thread(self._reader.read, self.config.batch_bytes)
        if not records:
            return False
        bodies = by_signal(records, self.config.signals)
        async with asyncio.TaskGroup() as sending:
            for signal, parts in bodies.items():
                sending.create_task(self._deliver(signal, parts))
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
        """Send until the back-end has it or refuses it; of what it refuses, find the part that is to blame."""
        body = joined(bodies)
        answer = await self._answer(signal, body)
        if answer.outcome == "delivered":
            self.tally.num_delivered += 1
            self.tally.delivered_bytes += len(body)
            if answer.num_refused:
                self.tally.num_refused_items += answer.num_refused
                self._log_once("partial", "%s did not take a part of the %s: %s", self.name, signal, answer.reason)
        elif answer.by_content and len(bodies) > 1:
            half = len(bodies) // 2
            await self._deliver(signal, bodies[:half])
            await self._deliver(signal, bodies[half:])
        else:
            self.tally.num_dropped_items += num_items(signal, body)
            self.tally.last_reason = answer.reason
            self._log_once(
                "refused",
                "%s refuses %s for good, which are dropped for it (%s); further ones are only counted",
                self.name,
                signal,
                answer.reason,
            )

    async def _answer(self, signal: Signal, body: bytes) -> Answer:
        """The first answer that is not to try again."""
        backoff = self._new_backoff()
        while (answer := await self._send(signal, body)).outcome == "retry":
            self.tally.num_retries += 1
            self.tally.last_reason = answer.reason
            self._log_once("retry", "%s does not take %s now, which wait (%s)", self.name, signal, answer.reason)
            await self._sleep(backoff.wait_s(answer.wait_s))
        self._logged.discard("retry")
        return answer

    async def _send(self, signal: Signal, body: bytes) -> Answer:
        self.num_sending += 1
        try:
            return await self._client.send(signal, body)
        finally:
            self.num_sending -= 1

    def _log_once(self, kind: str, message: str, *values: object) -> None:
        if kind not in self._logged:
            self._logged.add(kind)
            logger.warning(message, *values)
