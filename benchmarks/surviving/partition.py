"""Two of three hosts that do not reach each other for a while, each still reached by its clients: a model, a version
published meanwhile, and a table of embeddings that is changed.
"""

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.surviving.three_hosts import MODEL, made_ready, publish, up
from benchmarks.throughput import Figures
from tests.hosts.cluster import Cluster, wait_until
from tests.hosts.load import Seen, load
from tests.hosts.maker import Host

KEYS = ("partition_wrong", "partition_lost", "partition_split")
CUT_S = 30.0
_BEFORE_S, _HEALED_S = 3.0, 180.0
_TABLE, _STALENESS_S = "items", 1.0
_SWAP_S = 1.0
"""From the first answer by a version until nobody is answered by the one before; half of it is promised."""
_APPLICATION = {
    "name": _TABLE,
    "route_prefix": f"/v2/embeddings/{_TABLE}",
    "import_path": "deployments.app:embeddings",
    "args": {"table": _TABLE, "rows": 3, "width": 1, "shards": 3, "staleness_s": _STALENESS_S},
}


@dataclass(kw_only=True)
class Row:
    """One row, whose only writer counts up."""

    tried: int = 0
    acknowledged: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])
    """When each change was acknowledged, and what the row was then."""

    def at_least(self, moment: float) -> int:
        """What who reads it then must see."""
        return max(value for when, value in self.acknowledged if when <= moment - _STALENESS_S)


def figures(_options: argparse.Namespace) -> Figures:
    """Wrong answers, of the model and by older rows than promised; acknowledged changes that are gone afterwards;
    answers by another version than the agreed one. Once two workers are cut from each other, once one from the head.
    """
    total = dict.fromkeys(KEYS, 0.0)
    with made_ready(besides=[_APPLICATION]) as cluster:
        up(cluster)
        wait_until(lambda: all(_read(cluster, host) is not None for host in cluster.hosts), 120)
        head, second, third = cluster.hosts
        for version, (one, other) in enumerate(((second, third), (head, third)), start=2):
            for key, value in _cut(cluster, one, other, str(version)).items():
                total[key] += value
        cluster.down()
    return total


def _cut(cluster: Cluster, one: Host, other: Host, version: str) -> Figures:
    with load(cluster, cluster.hosts) as seen, _changes(cluster) as (rows, stale):
        time.sleep(_BEFORE_S)
        one.cut_off_from(other)
        publish(cluster)
        time.sleep(CUT_S)
        one.reconnect_to(other)
        with suppress(TimeoutError):
            wait_until(lambda: all(cluster.version(host, MODEL) == version for host in cluster.hosts), _HEALED_S)
    time.sleep(2 * _STALENESS_S)
    with suppress(TimeoutError):
        wait_until(lambda: all(_read(cluster, host) is not None for host in cluster.hosts), _HEALED_S)
    found = [_read(cluster, host) or [-1.0] * len(rows) for host in cluster.hosts]
    versions = [cluster.version(host, MODEL) for host in cluster.hosts]
    lost = sum(
        not row.acknowledged[-1][1] <= values[place] <= row.tried for values in found for place, row in enumerate(rows)
    ) + (len({tuple(values) for values in found}) - 1)
    split = _of_old_version(seen, version) + sum(each != version for each in versions)
    told = ", ".join(f"{row.acknowledged[-1][1]} of {row.tried}" for row in rows)
    print(
        f"{one.name} cut from {other.name} for {CUT_S:.0f} s: {seen}; changes acknowledged {told}; rows then {found}; "
        f"{len(stale)} older than promised {stale[:3]}; versions {versions}, {split} by another",
        flush=True,
    )
    return {"partition_wrong": seen.wrong + len(stale), "partition_lost": lost, "partition_split": split}


def _of_old_version(seen: Seen, version: str) -> int:
    """Answers by the one before to requests that began well after the first answer by `version`."""
    first = min((ended for _, ended, by in seen.versions if by == version), default=float("inf"))
    return sum(by != version and began > first + _SWAP_S for began, _, by in seen.versions)


@contextmanager
def _changes(cluster: Cluster) -> Iterator[tuple[list[Row], list[str]]]:
    """At each host a client that counts its row up and reads all of them; what was read too old."""
    rows, stale, end = [Row() for _ in cluster.hosts], list[str](), threading.Event()
    for row, value in zip(rows, _read(cluster, cluster.head) or [], strict=True):
        row.tried = int(value)
        row.acknowledged = [(0.0, int(value))]
    clients = [
        threading.Thread(target=_client, args=(cluster, host, place, rows, stale, end))
        for place, host in enumerate(cluster.hosts)
    ]
    for client in clients:
        client.start()
    try:
        yield rows, stale
    finally:
        end.set()
        for client in clients:
            client.join()


def _client(cluster: Cluster, host: Host, place: int, rows: list[Row], stale: list[str], end: threading.Event) -> None:
    own = rows[place]
    while not end.wait(0.1):
        own.tried += 1
        inputs = [_tensor("ids", "INT64", [place], [1]), _tensor("rows", "FP32", [own.tried], [1, 1])]
        if _asked(cluster, host, "set", inputs) is not None:
            own.acknowledged.append((time.monotonic(), own.tried))
        began = time.monotonic()
        values = _read(cluster, host)
        if values is not None:
            for number, (row, value) in enumerate(zip(rows, values, strict=True)):
                if value < row.at_least(began):
                    stale.append(f"{host.name}: row {number} {value:.0f}, acknowledged {row.at_least(began)}")


def _read(cluster: Cluster, host: Host) -> list[float] | None:
    """All rows as that host tells them, if it does."""
    found = _asked(cluster, host, "lookup", [_tensor("ids", "INT64", [0, 1, 2], [3])])
    return list(found.json()["outputs"][0]["data"]) if found else None


def _asked(cluster: Cluster, host: Host, what: str, inputs: list[dict[str, Any]]) -> httpx.Response | None:
    url = cluster.url(host, f"/v2/embeddings/{_TABLE}/{what}")
    try:
        answer = httpx.post(url, json={"inputs": inputs}, headers={"x-api-key": cluster.key}, timeout=15)
    except httpx.HTTPError:
        return None
    return answer if answer.status_code == 200 else None


def _tensor(name: str, datatype: str, data: list[int], shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}
