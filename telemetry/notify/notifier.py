"""Brings what the outbox holds to its channels, each at a pace of its own."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from telemetry.incidents.runbooks import PAGE as RUNBOOKS
from telemetry.named import each_name_once
from telemetry.notify.channels import AnyChannel, Channel
from telemetry.notify.errors import NotNowError, RefusedForGoodError
from telemetry.notify.notification import Notification
from telemetry.notify.outbox import Outbox
from telemetry.storage.documents import Documents

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often a channel looks for what is due, if nothing wakes it."""


class NotifyConfig(BaseModel):
    """Who is told of incidents, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    channels: Annotated[list[AnyChannel], AfterValidator(each_name_once)] = []
    """Ways to tell; each is told of every incident, unless it is silenced."""
    page: str = ""
    """Address at which people reach the page, such as `https://models.example.com/telemetry`: for links."""
    runbooks: str = RUNBOOKS
    """Address at which people read docs/telemetry.md, which says what to do about each kind of alert: for links."""


class Notifier:
    """Tells each channel of each incident; a channel that is slow or down holds up no other."""

    def __init__(
        self, channels: Sequence[Channel], documents: Documents, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.outbox = Outbox([channel.name for channel in channels], documents)
        self._channels = channels
        self._clock = clock
        self._unacknowledged: set[str] = set()
        self._wake = {channel.name: asyncio.Event() for channel in channels}
        self._tasks: list[asyncio.Task[None]] = []

    def tell(self, notification: Notification, *, acknowledged: bool = False) -> None:
        """Have every channel told of an incident as it stands; what somebody has acknowledged is not told again."""
        self._unacknowledged.discard(notification.incident)
        if notification.state == "open" and not acknowledged:
            self._unacknowledged.add(notification.incident)
        self.outbox.put(notification, self._clock())
        for wake in self._wake.values():
            wake.set()

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._tasks = [asyncio.create_task(self._run(channel)) for channel in self._channels]

    async def stop(self) -> None:
        """End; what was not told stays in the outbox for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send_due(self, channel: Channel) -> None:
        """Tell one channel what is due."""
        if channel.again_s is not None:
            self.outbox.put_again(channel.name, channel.again_s, self._clock(), self._unacknowledged)
        for entry in self.outbox.due(channel.name, self._clock()):
            said = entry.notification
            try:
                await channel.send(said)
            except NotNowError as error:
                self.outbox.later(entry, error.retry_after_s, str(error), self._clock())
            except RefusedForGoodError as error:
                self.outbox.drop(entry, str(error))
            else:
                self.outbox.told(entry, said, self._clock())

    async def _run(self, channel: Channel) -> None:
        wake = self._wake[channel.name]
        while True:
            try:
                await self.send_due(channel)
            except Exception:
                logger.exception("telling %s failed; it is tried again", channel.name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await wake.wait()
            wake.clear()
