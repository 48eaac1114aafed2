"""What is still to be told, by channel and incident; it survives a restart.

put -> waiting -> told            an incident is told as it stands: one that ended before anybody could be told
          |-> later -> waiting    is told once, as ended
          '-> dropped             refused for good, or not taken for a day
"""

import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from telemetry.notify.notification import Notification
from telemetry.storage.documents import Documents

logger = logging.getLogger(__name__)

DOCUMENT = "outbox"
GIVE_UP_S = 86_400.0
"""How long one notification is tried for, and how long what was told is remembered after its incident ended."""
MAX_DELAY_S = 300.0
MAX_ENTRIES = 10_000


@dataclass(kw_only=True)
class Entry:
    """One incident, as one channel is to be told of it."""

    channel: str
    notification: Notification
    told: str = ""
    """The state that the channel was told last; empty before the first."""
    told_s: float = 0.0
    waits_since_s: float | None = None
    """Since when this state is to be told; None where it was, or where it was given up."""
    next_s: float = 0.0
    num_tries: int = 0


class Outbox:
    """Keeps each channel's entries in `documents`, and says which are due."""

    def __init__(self, channels: Iterable[str], documents: Documents) -> None:
        self._channels = list(channels)
        self._documents = documents
        self._entries = _kept(documents.kept(DOCUMENT), self._channels)
        self.num_told = 0
        self.num_dropped = 0

    @property
    def num_waiting(self) -> int:
        """Notifications that some channel has not taken yet."""
        return sum(entry.waits_since_s is not None for entry in self._entries.values())

    def put(self, notification: Notification, now_s: float) -> None:
        """Have every channel told, unless it was told of this state before, or is being tried for it."""
        for channel in self._channels:
            key = (channel, notification.incident)
            entry = self._entries.setdefault(key, Entry(channel=channel, notification=notification))
            is_tried = entry.waits_since_s is not None and entry.notification.state == notification.state
            entry.notification = notification
            if entry.told == notification.state:
                entry.waits_since_s = None
            elif not is_tried:
                self._wait(entry, now_s)
        self._forget(now_s)
        self._keep()

    def put_again(self, channel: str, after_s: float, now_s: float, incidents: set[str]) -> None:
        """Have one channel told again of those of `incidents` that are open and of which it was told `after_s` ago."""
        for entry in self._entries.values():
            is_open = entry.told == entry.notification.state == "open" and entry.notification.incident in incidents
            if entry.channel == channel and is_open and now_s - entry.told_s >= after_s:
                self._wait(entry, now_s)

    def due(self, channel: str, now_s: float) -> list[Entry]:
        """What the channel is to be told now, the oldest first."""
        waiting = [entry for entry in self._entries.values() if entry.channel == channel and _is_due(entry, now_s)]
        return sorted(waiting, key=lambda entry: entry.waits_since_s or 0.0)

    def told(self, entry: Entry, said: Notification, now_s: float) -> None:
        """The channel has taken `said`; where the incident has changed its state meanwhile, that is told next."""
        self.num_told += 1
        entry.told, entry.told_s, entry.num_tries = said.state, now_s, 0
        if entry.notification.state == said.state:
            entry.waits_since_s = None
        self._keep()

    def later(self, entry: Entry, retry_after_s: float | None, why: str, now_s: float) -> None:
        """The channel could not be told now."""
        entry.num_tries += 1
        delay_s = min(MAX_DELAY_S, 2.0**entry.num_tries) * random.uniform(0.5, 1.0)
        entry.next_s = now_s + max(delay_s, min(retry_after_s or 0.0, GIVE_UP_S))
        if entry.num_tries == 1:
            logger.warning("%s could not be told of %s, and is tried again: %s", entry.channel, _name(entry), why)
        if entry.waits_since_s is not None and now_s - entry.waits_since_s > GIVE_UP_S:
            self.drop(entry, f"not within a day: {why}")
        self._keep()

    def drop(self, entry: Entry, why: str) -> None:
        """The channel will not take this."""
        self.num_dropped += 1
        entry.waits_since_s, entry.told, entry.num_tries = None, entry.notification.state, 0
        logger.error("%s will not be told of %s: %s", entry.channel, _name(entry), why)
        self._keep()

    def _wait(self, entry: Entry, now_s: float) -> None:
        entry.waits_since_s, entry.next_s, entry.num_tries = now_s, now_s, 0

    def _forget(self, now_s: float) -> None:
        """What ended and was told long ago; beyond `MAX_ENTRIES` the oldest."""
        self._entries = {
            key: entry
            for key, entry in self._entries.items()
            if entry.waits_since_s is not None or now_s - (entry.notification.ended_s or now_s) < GIVE_UP_S
        }
        while len(self._entries) > MAX_ENTRIES:
            oldest = self._entries.pop(next(iter(self._entries)))
            if oldest.waits_since_s is not None:
                self.drop(oldest, f"more than {MAX_ENTRIES} are waiting")

    def _keep(self) -> None:
        entries = [{**vars(entry), "notification": entry.notification.document()} for entry in self._entries.values()]
        self._documents.keep(DOCUMENT, {"version": 1, "entries": entries})


def _is_due(entry: Entry, now_s: float) -> bool:
    """A clock that was set back must not make one wait for longer than the longest delay."""
    return entry.waits_since_s is not None and (entry.next_s <= now_s or entry.next_s - now_s > GIVE_UP_S)


def _name(entry: Entry) -> str:
    return f"incident {entry.notification.incident} ({entry.notification.state})"


def _kept(document: Any, channels: list[str]) -> dict[tuple[str, str], Entry]:
    """The entries of channels that are still there; those that cannot be read are left out and logged."""
    entries: dict[tuple[str, str], Entry] = {}
    for each in document["entries"] if isinstance(document, dict) and document.get("version") == 1 else ():
        try:
            entry = Entry(**{**each, "notification": Notification(**each["notification"])})
        except (TypeError, KeyError) as error:
            logger.warning("an entry of the outbox cannot be read and is left out: %s", error)
            continue
        if entry.channel in channels:
            entries[entry.channel, entry.notification.incident] = replace(entry, next_s=0.0)
    return entries
