"""Brings requests to one back-end, each until it has it or refuses it for good."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from telemetry.forwarding.answers import Answer
from telemetry.forwarding.backoff import Backoff

logger = logging.getLogger(__name__)

Part = TypeVar("Part")
Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Tally:
    """What has become of requests to one back-end since the collector began."""

    num_delivered: int = 0
    """Requests, each of which may hold many that were received."""
    num_retries: int = 0
    """Tries that failed and were, or will be, made again."""
    num_refused_items: int = 0
    """Spans, points and records that the back-end itself says it did not take, of requests that it took."""
    num_dropped_items: int = 0
    """Spans, points and records of requests that it refused for good."""
    num_sending: int = 0
    """Requests on their way."""


class Delivery:
    """Retries with growing waits, divides what is refused for its content, counts, logs each kind of trouble once."""

    def __init__(
        self, name: str, *, sleep: Sleep = asyncio.sleep, new_backoff: Callable[[], Backoff] = Backoff
    ) -> None:
        self.name = name
        self.tally = Tally()
        self._sleep = sleep
        self._new_backoff = new_backoff
        self._logged: set[str] = set()

    async def deliver(
        self,
        what: str,
        parts: Sequence[Part],
        send: Callable[[Sequence[Part]], Awaitable[Answer]],
        num_items: Callable[[Sequence[Part]], int],
    ) -> None:
        """Send `parts` in one request; of what is refused for its content, find the part that is to blame."""
        answer = await self._answer(what, lambda: send(parts))
        if answer.outcome == "delivered":
            self.tally.num_delivered += 1
            if answer.num_refused:
                self.tally.num_refused_items += answer.num_refused
                self._log_once("partial", "%s did not take a part of the %s: %s", self.name, what, answer.reason)
        elif answer.by_content and len(parts) > 1:
            half = len(parts) // 2
            await self.deliver(what, parts[:half], send, num_items)
            await self.deliver(what, parts[half:], send, num_items)
        else:
            self.tally.num_dropped_items += num_items(parts)
            self._log_once(
                "refused",
                "%s refuses %s for good, which are dropped for it (%s); further ones are only counted",
                self.name,
                what,
                answer.reason,
            )

    async def _answer(self, what: str, send: Callable[[], Awaitable[Answer]]) -> Answer:
        """The first answer that is not to try again."""
        backoff = self._new_backoff()
        while (answer := await self._sent(send)).outcome == "retry":
            self.tally.num_retries += 1
            self._log_once("retry", "%s does not take %s now, which wait (%s)", self.name, what, answer.reason)
            await self._sleep(backoff.wait_s(answer.wait_s))
        self._logged.discard("retry")
        return answer

    async def _sent(self, send: Callable[[], Awaitable[Answer]]) -> Answer:
        self.tally.num_sending += 1
        try:
            return await send()
        finally:
            self.tally.num_sending -= 1

    def _log_once(self, kind: str, message: str, *values: object) -> None:
        if kind not in self._logged:
            self._logged.add(kind)
            logger.warning(message, *values)
