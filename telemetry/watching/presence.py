"""Watches for processes that fall silent, and for a service of which nothing is heard any more.

A process that ends in order says so by its last report (`Instance.said_goodbye`); one that another of its service takes
over from, or that the service was without before today (as where replicas come and go with the load), is not missed.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from telemetry.detectors.window import SortedWindow
from telemetry.series.instance import Instance
from telemetry.watching.decision import Decision
from telemetry.watching.watch import Verdict

SILENT_S, SILENT_INTERVALS = 10.0, 3.0
"""Without a report for so long, and so many of its intervals, a process is silent."""
SETTLED_S = 10.0
"""A process is missed only after it was there for so long."""
CONFIRMED_S = 3.0
"""A silence counts once the collector has been awake for so long in it."""
NUMBER_S, NUMBERS, FEWEST_NUMBERS = 300.0, 288, 3
"""How often the number of processes is noted, how many notes are kept, and from how many on they say what is usual."""
BEFORE_S = 60.0
"""A process that began at most so long before another fell silent takes over from it."""
FORGOTTEN_S = 3600.0
"""A process that ended in order is forgotten after so long."""


@dataclass(kw_only=True)
class Process:
    """What is known of one process; times are steady."""

    name: str
    version: str
    host: str
    began_s: float
    heard_s: float
    interval_s: float
    reported_s: float
    """Its last report by the collector's wall clock, only to see that another came."""
    said_goodbye: bool = False
    silent_since_s: float | None = None
    """When its silence was noticed."""

    def is_lost(self, now_s: float) -> bool:
        """Whether it fell silent without a word."""
        return (
            not self.said_goodbye
            and self.silent_since_s is not None
            and now_s - self.silent_since_s >= CONFIRMED_S
            and self.heard_s - self.began_s >= SETTLED_S
        )

    def takes_over_from(self, other: "Process") -> bool:
        """Whether it began after `other` and not long before that one fell silent."""
        return self.began_s > other.began_s + SETTLED_S and self.began_s >= other.heard_s - BEFORE_S


class PresenceWatch:
    """Judges who is missing; unlike the other watches it is asked at every tick, as silence brings no frames."""

    signal = "absence"
    decision = Decision(num_needed=1, num_considered=1, num_calm=3, calm_s=10.0)

    def __init__(self) -> None:
        self._processes: dict[str, Process] = {}
        self._numbers = SortedWindow(NUMBERS)
        self._noted_s = 0.0

    def relearn(self) -> None:
        """Miss nobody who is silent now."""
        self._processes = {name: each for name, each in self._processes.items() if each.silent_since_s is None}
        self._numbers = SortedWindow(NUMBERS)

    def has_left(self, now_s: float, after_s: float) -> bool:
        """Whether all processes ended in order, the last of them `after_s` ago."""
        known = self._processes.values()
        return bool(known) and all(each.said_goodbye and now_s - each.heard_s >= after_s for each in known)

    def ask(self, instances: Iterable[Instance], now_s: float) -> Verdict | None:
        """Judge who is there; None while nobody was ever there."""
        self._hear(instances, now_s)
        present = [each for each in self._processes.values() if each.silent_since_s is None]
        lost = self._missed([each for each in self._processes.values() if each.is_lost(now_s)], present)
        if not self._processes:
            return None
        if not lost:
            self._note(len(present), now_s)
        number = len(present) + len(lost)
        names = ", ".join(sorted(each.name for each in lost)[:3]) + (" and others" if len(lost) > 3 else "")
        since_s = now_s - min((each.heard_s for each in lost), default=now_s)
        return Verdict(
            unusual=bool(lost),
            calm=not lost and bool(present),
            score=float(len(lost)),
            value=float(len(present)),
            expected=(float(number), float(number)),
            sentence=f"{names} fell silent {since_s:.0f} s ago without ending in order; "
            + (f"{len(present)} of {number} processes report" if present else "nothing of it reports any more"),
            instance=lost[0].name if len(lost) == 1 else "",
            hosts=frozenset(each.host for each in lost if each.host),
        )

    def document(self) -> dict[str, Any]:
        """Who is known, and how many are usual."""
        return {
            "processes": [asdict(each) for each in self._processes.values()],
            "numbers": list(self._numbers),
        }

    def restore(self, document: dict[str, Any], now_s: float) -> None:
        """Take it up again; who was there then has time to report anew."""
        for each in document["processes"]:
            process = Process(**each)
            if process.silent_since_s is None:
                process.heard_s = now_s
            self._processes[process.name] = process
        self._numbers.replace([float(number) for number in document["numbers"]])
        self._noted_s = now_s

    def _hear(self, instances: Iterable[Instance], now_s: float) -> None:
        for instance in instances:
            name = instance.origin.instance
            known = self._processes.get(name)
            if known is None:
                if now_s - instance.seen_s > FORGOTTEN_S:
                    continue
                known = self._processes[name] = Process(
                    name=name,
                    version=instance.origin.version,
                    host=instance.origin.host,
                    began_s=now_s,
                    heard_s=now_s,
                    interval_s=instance.interval_s,
                    reported_s=instance.seen_s,
                )
            elif instance.seen_s != known.reported_s:
                if known.said_goodbye or known.version != instance.origin.version:
                    known.began_s = now_s
                known.reported_s, known.heard_s, known.silent_since_s = instance.seen_s, now_s, None
                known.interval_s, known.version = instance.interval_s, instance.origin.version
            known.said_goodbye = instance.said_goodbye
        for name, each in list(self._processes.items()):
            silent_s = now_s - each.heard_s
            if silent_s > max(SILENT_S, SILENT_INTERVALS * each.interval_s) and each.silent_since_s is None:
                each.silent_since_s = now_s
            if silent_s > FORGOTTEN_S and each.said_goodbye and len(self._processes) > 1:
                del self._processes[name]

    def _missed(self, lost: list[Process], present: list[Process]) -> list[Process]:
        """Those of `lost` whom nobody replaces, as far as there are fewer than usual; the others are forgotten."""
        free = list(present)
        missed = []
        for each in sorted(lost, key=lambda each: each.heard_s):
            heir = next((other for other in free if other.takes_over_from(each)), None)
            if heir is None:
                missed.append(each)
            else:
                free.remove(heir)
        is_usual = len(self._numbers) >= FEWEST_NUMBERS and len(present) >= self._numbers.quantile(0.0)
        if present and is_usual:
            missed = []
        for each in lost:
            if each not in missed:
                del self._processes[each.name]
        return missed

    def _note(self, number: int, now_s: float) -> None:
        if number and now_s - self._noted_s >= NUMBER_S:
            self._numbers.add(float(number))
            self._noted_s = now_s
