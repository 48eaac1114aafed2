"""Rollouts of versions that are no worse, on a real server: several models at a time, all of them asked meanwhile."""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.servers import Server, trimtab
from benchmarks.surviving.capacity import wait_until_listed
from benchmarks.surviving.clients import asking
from benchmarks.surviving.versions import calls, copied, version
from deployments.commands.client import Client

MODELS, ROUNDS = 5, 4
"""Rolled out at a time, and how often: the candidates of one round compete for the processors, as on a busy machine."""
SETTINGS: Mapping[str, Any] = {"canary": [10, 50], "step_s": 30, "auto": True}
PER_S = 20.0
"""Requests a second to each model."""
WITHIN_S = 400.0
_ENDED = ("promoted", "rolled_back", "aborted")


def rolled_out(*, models: int = MODELS, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """How each rollout ended, as the server tells it.

    Raises:
        TimeoutError: some go on for too long.
        RuntimeError: a request failed meanwhile.
    """
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        original = version(Path(folder))
        artifacts = [copied(original, f"good-{number}") for number in range(models)]
        names = [each.manifest.name for each in artifacts]
        environment = {"XDG_STATE_HOME": folder}
        with trimtab(artifacts[0], beside=artifacts[1:], environment=environment, num_cpus=0) as server:
            for name in names:
                wait_until_listed(server, name, 1)
            clients = [each for name in names for each in calls(server, 2, name)]
            with asking(clients, PER_S * models) as asked:
                for _ in range(rounds):
                    found += _round(server, {name: copied(original, name).manifest.version for name in names})
    ends = ", ".join(f"{number} {phase}" for phase, number in Counter(each["phase"] for each in found).items())
    print(f"{len(found)} rollouts on a real clock, {models} at a time: {ends}; {asked}", flush=True)
    if asked.failures:
        raise RuntimeError(f"no request may fail, got {len(asked.failures)}")
    return found


def _round(server: Server, candidates: Mapping[str, str]) -> Sequence[dict[str, Any]]:
    """Each model's candidate rolled out, all at once."""
    client = Client(url=server.url)
    for name, candidate in candidates.items():
        body = json.dumps({"version": candidate, **SETTINGS}).encode()
        client.ask("POST", f"/v2/rollouts/{name}", body, {"Content-Type": "application/json"})
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        latest = [client.get(f"/v2/rollouts/{name}")["rollouts"][0] for name in candidates]
        if all(each["phase"] in _ENDED for each in latest):
            return latest
        time.sleep(1)
    raise TimeoutError(f"rollouts must end within {WITHIN_S:.0f} s, got {[each['said'] for each in latest]}")
