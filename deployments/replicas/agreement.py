"""One version at a time for a whole cluster: what requests that name none are answered by, in every replica.

    replica: what it has prepared, what failed -> report ─┐
                                                          ├─ a store that all share ─▶ the agreed version -> all swap
    every other replica's report ─────────────────────────┘

A newer version is agreed once every replica has prepared it. Those that fail, or take too long, are waited for only so
long: then it suffices that more than half have it. There is no leader: whoever sees that it is so writes it down.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

Policy = tuple[str, ...] | None
"""The versions to hold, or none for the newest ones, whatever comes."""

SILENT_S = 10.0
"""A replica that has not reported for so long is gone."""
REPORT_EVERY_S = 2.0
FAILING_S = 30.0
"""How long a version waits for replicas that fail to load it."""
PREPARING_S = 600.0
"""How long it waits for those that have neither loaded it nor failed."""
REPORT_FORM = 1
"""Another number for another form of `Report`: replicas of two releases may share a store for a while."""


class Store(Protocol):
    """Keys and values that outlive a replica; `deployments.replicas.repository` has Ray's."""

    def get(self, key: str) -> bytes | None:
        """The value, if there is one."""

    def put(self, key: str, value: bytes) -> None:
        """Write it over what is there."""

    def delete(self, key: str) -> None:
        """Forget it, if it is there."""

    def below(self, prefix: str) -> Mapping[str, bytes]:
        """All whose key begins with `prefix`."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one replica says of itself."""

    wanted: tuple[str, ...] = ()
    """Versions that are published where it looks, or ordered, newest first: the newest, and the agreed one."""
    prepared: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    behind: str | None = None
    """Why it cannot answer by the agreed version, if so."""


class Reports:
    """What the replicas of a model have said, whose keys begin with `prefix`. Calls may block for a moment."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._heard: dict[str, tuple[bytes, float]] = {}

    def live(self) -> dict[str, Report]:
        """The reports of those that still live, by replica: each changes from time to time, as a sign of life."""
        now_s = time.monotonic()
        said = self._store.below(self._prefix)
        self._heard = {key: heard for key, heard in self._heard.items() if key in said}
        found: dict[str, Report] = {}
        for key, value in said.items():
            before, changed_s = self._heard.get(key, (b"", now_s))
            if value != before:
                changed_s = now_s
            self._heard[key] = (value, changed_s)
            if now_s - changed_s >= SILENT_S:
                self._store.delete(key)  # one that was only slow writes it again
                continue
            told = json.loads(value)
            wanted, prepared, failed = (tuple(told[name]) for name in ("wanted", "prepared", "failed"))
            report = Report(wanted=wanted, prepared=prepared, failed=failed, behind=told["behind"])
            found[key.removeprefix(self._prefix)] = report
        return found


class Agreement:
    """One replica's part in it. Calls may block for a moment; one at a time."""

    def __init__(self, store: Store, model: str, replica: str, policy: Policy = None) -> None:
        """Replicas whose settings say another `policy` agree among themselves."""
        self._store = store
        self._replica = replica
        group = f"{model}:{'newest' if policy is None else ','.join(policy)}"
        self._order_key = order_key(model)
        self._agreed_key = f"trimtab:agreed:{group}"
        self._report_key = f"{reports_prefix(group)}{replica}"
        self._reports = Reports(store, reports_prefix(group))
        self._told: tuple[Report | None, float] = (None, 0.0)
        self._beat = 0
        self._prepared_s: dict[str, float] = {}

    def order(self) -> Policy:
        """The last order for the model; none where its settings hold."""
        return ordered(self._store, self._order_key)

    def agreed(self) -> str | None:
        """The version all follow, if they have come to one."""
        found = self._store.get(self._agreed_key)
        return found.decode() if found else None

    def followed(self) -> str | None:
        """The version that replicas beside this one follow and want, if there are any."""
        agreed = self.agreed()
        return agreed if any(agreed in report.wanted for report in self._others()) else None

    def begin(self, version: str, report: Report) -> None:
        """Report for the first time, answering by `version`, which others follow if there are none yet."""
        self.report(report)
        if not self._others():
            self._write(version)

    def report(self, report: Report) -> None:
        """Say what this replica has; at once where that is new, else from time to time, as a sign of life."""
        before, told_s = self._told
        now_s = time.monotonic()
        if report == before and now_s - told_s < REPORT_EVERY_S:
            return
        self._beat += 1
        self._store.put(self._report_key, json.dumps({"beat": self._beat, **asdict(report)}).encode())
        self._told = (report, now_s)

    def leave(self) -> None:
        """Be waited for no longer."""
        self._store.delete(self._report_key)

    def settle(self, wanted: Sequence[str], report: Report) -> str | None:
        """Report, and the version that all follow: the one before, or the newest of `wanted` that is ready everywhere.

        `wanted` begins with the newest.
        """
        self.report(report)
        agreed = self.agreed()
        if not wanted or agreed == wanted[0]:
            return agreed
        found = choose(agreed, wanted, [report, *self._others()], self._since_prepared)
        if found is not None and found != agreed:
            self._write(found)
        return found

    def _write(self, version: str) -> None:
        self._store.put(self._agreed_key, version.encode())

    def _since_prepared(self, version: str) -> float:
        now_s = time.monotonic()
        return now_s - self._prepared_s.setdefault(version, now_s)

    def _others(self) -> list[Report]:
        return [report for replica, report in self._reports.live().items() if replica != self._replica]


def choose(
    agreed: str | None, wanted: Sequence[str], reports: Sequence[Report], since_prepared: Callable[[str], float]
) -> str | None:
    """The version to follow from now on: the newest of `wanted`, which begins with the newest, that is ready.

    Nobody goes back to one older than `agreed` while a replica wants that. `since_prepared` tells for how many seconds
    a version has been prepared by one of them.
    """
    stays = any(agreed in report.wanted for report in reports)
    for version in wanted:
        if agreed is not None and stays and int(version) <= int(agreed):
            break
        have = [report for report in reports if version in report.prepared]
        if len(have) == len(reports):
            return version
        if 2 * len(have) > len(reports):
            waited_s = since_prepared(version)
            preparing = any(version not in (*report.prepared, *report.failed) for report in reports)
            if waited_s >= (PREPARING_S if preparing else FAILING_S):
                return version
    return agreed


def reports_prefix(model: str) -> str:
    """What the keys of the reports of `model` begin with."""
    return f"trimtab:replica-{REPORT_FORM}:{model}:"


def order_key(model: str) -> str:
    """Where orders for `model` are kept."""
    return f"trimtab:versions:{model}"


def ordered(store: Store, key: str) -> Policy:
    """The order that is kept at `key`, if there is one."""
    kept = store.get(key)
    found = json.loads(kept) if kept else None
    return None if found is None else tuple(found)
