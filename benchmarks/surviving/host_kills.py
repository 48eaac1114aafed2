"""Requests that fail while a host of three dies, comes back, or is drained."""

import argparse
import time

import httpx

from benchmarks.surviving.three_hosts import MODEL, made_ready, publish, up
from benchmarks.throughput import Figures
from tests.hosts.cluster import Cluster, wait_until
from tests.hosts.load import load
from tests.hosts.maker import Host

NODE_KEYS = ("killed_node_failed", "killed_ingress_failed")
HEAD_KEYS = ("killed_head_failed", "head_lost", "head_recover_s")
DRAIN_KEYS = ("node_drain_failed", "node_drain_moved_failed")
WANTED_0 = (*NODE_KEYS, *HEAD_KEYS[:2], *DRAIN_KEYS)
_UNLOADED = "unloaded"
_BEFORE_S, _AFTER_S = 3.0, 20.0
_FOLLOWED_S, _BACK_S = 60.0, 300.0


def node_figures(options: argparse.Namespace) -> Figures:
    """Requests that failed while a worker's host died: of clients of the others, and of clients of the dead one that
    tried another.
    """
    beside_failed = moved_failed = 0
    with made_ready() as cluster:
        up(cluster)
        for number in range(_kills(options)):
            victim, other = _pair(cluster, number)
            with load(cluster, [cluster.head, other]) as beside, load(cluster, [victim], instead=other) as moved:
                time.sleep(_BEFORE_S)
                victim.kill()
                time.sleep(_AFTER_S)
            print(f"{victim.name} killed: {beside}; with another to try: {moved}", flush=True)
            beside_failed += len(beside.failures)
            moved_failed += len(moved.failures)
            victim.start()  # the head starts Ray there again
            _wait_until_back(cluster, victim)
        cluster.down()
    return {"killed_node_failed": beside_failed, "killed_ingress_failed": moved_failed}


def head_figures(options: argparse.Namespace) -> Figures:
    """Requests to the workers that failed from when the head's host died until a new head answered; what the new head
    no longer knew: that a model is to be unloaded, or where new versions come from; most seconds from `ray up` until it
    and the workers answered.
    """
    failed = lost = 0
    recover_s = 0.0
    with made_ready(outlives_head=True, models=(MODEL, _UNLOADED)) as cluster:
        up(cluster)
        httpx.post(
            cluster.url(cluster.head, f"/v2/repository/models/{_UNLOADED}/unload"),
            headers={"x-api-key": cluster.key},
            timeout=30,
        ).raise_for_status()
        head, *workers = cluster.hosts
        for number in range(_kills(options)):
            with load(cluster, workers) as seen:
                time.sleep(_BEFORE_S)
                head.kill()
                time.sleep(_AFTER_S)
                head.start()
                began = time.monotonic()
                up(cluster)
                took_s = time.monotonic() - began
            answers = [cluster.version(host, _UNLOADED) for host in cluster.hosts]
            publish(cluster)
            follows = _all_answer(cluster, str(number + 2))
            told = f"back in {took_s:.0f} s; unloaded answers {answers}; follows: {follows}"
            print(f"head killed: {seen}; {told}", flush=True)
            recover_s = max(recover_s, took_s)
            failed += len(seen.failures)
            lost += any(answers) + (not follows)
        cluster.down()
    return {"killed_head_failed": failed, "head_lost": lost, "head_recover_s": recover_s}


def drain_figures(options: argparse.Namespace) -> Figures:
    """Requests that failed while a worker was drained: of clients of the others, and of its own that tried another."""
    beside_failed = moved_failed = 0
    with made_ready() as cluster:
        up(cluster)
        for number in range(_kills(options)):
            leaving, other = _pair(cluster, number)
            with load(cluster, [cluster.head, other]) as beside, load(cluster, [leaving], instead=other) as moved:
                time.sleep(_BEFORE_S)
                leaving.run(
                    f"cd ~/trimtab && .venv/bin/python -m deployments node drain --head {cluster.head.address}",
                    timeout_s=180,
                )
                time.sleep(_BEFORE_S)
            print(f"{leaving.name} drained: {beside}; with another to try: {moved}", flush=True)
            beside_failed += len(beside.failures)
            moved_failed += len(moved.failures)
            _wait_until_back(cluster, leaving)
        cluster.down()
    return {"node_drain_failed": beside_failed, "node_drain_moved_failed": moved_failed}


def _kills(options: argparse.Namespace) -> int:
    return 1 if options.quick else int(options.kills)


def _pair(cluster: Cluster, number: int) -> tuple[Host, Host]:
    """A worker and the other one, in turn."""
    first, second = cluster.hosts[1:]
    return (second, first) if number % 2 else (first, second)


def _wait_until_back(cluster: Cluster, host: Host) -> None:
    wait_until(lambda: cluster.version(host, MODEL) is not None, _BACK_S)


def _all_answer(cluster: Cluster, version: str) -> bool:
    try:
        wait_until(lambda: all(cluster.version(host, MODEL) == version for host in cluster.hosts), _FOLLOWED_S)
    except TimeoutError:
        return False
    return True
