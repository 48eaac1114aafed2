"""Versions that are no good, rolled out under load: what clients see of it, and how long until they are gone."""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.servers import Server, trimtab
from benchmarks.surviving.capacity import listed, replicas, wait_until_listed
from benchmarks.surviving.clients import asking, peak_per_s
from benchmarks.surviving.kills import SHARE
from benchmarks.surviving.versions import NAME, Fault, call_s, calls, version
from benchmarks.throughput import Figures
from deployments.commands.client import Client
from optimization.artifact import store

CRASHES: Mapping[str, float] = {"load": 0.0, "first request": 0.0, "a minute": 60.0}
"""When the candidate's process is killed, and again each time that it came back: seconds since it was loaded."""
ROLLED_BACK: Mapping[Fault, float] = {"errors": 20, "latency": 30, "fidelity": 120, "leak": 300}
"""Faults, and seconds within which a version with it is to be gone."""
AT_TEN_PERCENT: Mapping[str, Any] = {"canary": [10], "step_s": 3600, "auto": True}
WITHIN_S = 600.0
FAILED_SHARE = "rollback_failed_share"


def crashing_figures(options: argparse.Namespace) -> Figures:
    """Requests that failed while versions were rolled out whose processes die; replicas that were missing after it."""
    failed = missing = 0
    with _serving() as (server, root, per_s):
        before = listed(server, NAME)
        for when, after_s in CRASHES.items():
            candidate = version(root).manifest.version
            with asking(calls(server), per_s) as asked, _killing(server, when, after_s / (6 if options.quick else 1)):
                rollout = _rolled_out(server, candidate, {"canary": [10, 50], "auto": True})
                time.sleep(2)
            print(f"crashes at {when}: {per_s:.0f} requests/s; {asked}\n{_told(rollout)}", flush=True)
            failed += len(asked.failures)
            missing += len(before - listed(server, NAME))
            if rollout["phase"] != "rolled_back":
                raise RuntimeError(f"a version that crashes must be rolled back, got {rollout['phase']}")
    return {"crashing_failed": failed, "crashing_missing": missing}


def rollback_figures(options: argparse.Namespace) -> Figures:
    """Seconds from when a bad version first answered a tenth of the requests until it was gone; the largest share of
    the requests that failed from before it began until after.
    """
    found: Figures = {FAILED_SHARE: 0.0}
    with _serving() as (server, root, per_s):
        twice = _times_the_layers(server, root)
        for fault in ROLLED_BACK:
            if options.quick and fault == "leak":
                continue
            candidate = version(root, fault, num_more=twice).manifest.version
            with asking(calls(server), per_s) as asked:
                rollout = _rolled_out(server, candidate, AT_TEN_PERCENT)
                time.sleep(2)
            print(f"{fault}: {per_s:.0f} requests/s; {asked}\n{_told(rollout)}", flush=True)
            at_s = {each["phase"]: each["at_s"] for each in reversed(rollout["decisions"])}
            if "canary" not in at_s or "rolled_back" not in at_s:
                raise RuntimeError(f"a version with {fault} must answer requests and be rolled back, got {list(at_s)}")
            found[f"rollback_{fault}_s"] = at_s["rolled_back"] - at_s["canary"]
            found[FAILED_SHARE] = max(found[FAILED_SHARE], len(asked.failures) / asked.num_requests)
    return found


@contextmanager
def _serving() -> Iterator[tuple[Server, Path, float]]:
    """A server of version 1 of the model, where versions of it are published, and half of what it answers at most."""
    with (
        tempfile.TemporaryDirectory() as folder,
        trimtab(version(Path(folder)), environment={"XDG_STATE_HOME": folder}) as server,
    ):
        wait_until_listed(server, NAME, 1)
        yield server, Path(folder), SHARE * peak_per_s(calls(server))


def _times_the_layers(server: Server, root: Path) -> int:
    """How many times as many layers more it takes for a request to last twice as long: what it takes besides the model,
    both versions have.
    """
    request_s, model_s = 1 / peak_per_s(calls(server, 1)), call_s(store.load(store.find(root, NAME)))
    print(f"a request takes {1000 * request_s:.2f} ms, its model {1000 * model_s:.2f} ms", flush=True)
    return max(1, round(request_s / model_s))


def _rolled_out(server: Server, candidate: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The rollout of `candidate`, once it has ended.

    Raises:
        TimeoutError: it goes on for too long.
    """
    client = Client(url=server.url)
    body = json.dumps({"version": candidate, **settings}).encode()
    client.ask("POST", f"/v2/rollouts/{NAME}", body, {"Content-Type": "application/json"})
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(f"/v2/rollouts/{NAME}")["rollouts"][0]
        if found["phase"] in ("promoted", "rolled_back", "aborted"):
            return found
        time.sleep(0.2)
    raise TimeoutError(f"the rollout must end within {WITHIN_S:.0f} s:\n{_told(found)}\nnow: {found['said']}")


@contextmanager
def _killing(server: Server, when: str, after_s: float) -> Iterator[None]:
    """Kill each process of the candidate at `load` as soon as it is there, else so long after requests reach it."""
    over = threading.Event()

    def kill() -> None:
        asked_s: dict[int, float] = {}
        while not over.wait(0.1):
            phase = Client(url=server.url).get("/v2/rollouts")["rollouts"][:1]
            is_asked = bool(phase) and phase[0]["phase"] in ("shadow", "canary")
            for process in replicas(server, f"{NAME}:candidate:Candidate"):
                if when == "load" or is_asked:
                    since_s = asked_s.setdefault(process.pid, time.monotonic())
                    if time.monotonic() - since_s >= after_s:
                        with suppress(psutil.NoSuchProcess):
                            process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _told(rollout: Mapping[str, Any]) -> str:
    began_s = rollout["decisions"][0]["at_s"]
    return "\n".join(
        f"  {each['at_s'] - began_s:6.1f} s {each['phase']}: {each['text'][:300]}" for each in rollout["decisions"]
    )
