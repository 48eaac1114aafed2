"""What Ray says of a `cluster.yaml`, and the nodes of a cluster that runs: each tells its facts, tries the others."""

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deployments.doctor.facts import Facts, facts
from deployments.doctor.finding import Finding, Verdict
from deployments.ray_private import cluster_problem

CONNECT_S, ASKED_S = 3.0, 60.0
_MEND = "name the head as --address HOST:6379; with token authentication, set RAY_AUTH_MODE=token and the token"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a node said."""

    facts: Facts
    ahead_s: float
    unreached: tuple[str, ...]


def checked(path: Path, content: Mapping[str, Any]) -> Finding:
    """Whether a `cluster.yaml` says what Ray takes."""
    problem = cluster_problem(content)
    if problem is None:
        return Finding(where=str(path), what="settings", found="as Ray takes them")
    mend = "mend the file; docs.ray.io/en/latest/cluster/vms/references/ray-cluster-configuration.html has its settings"
    return Finding(where=str(path), what="settings", found=problem, verdict=Verdict.FAULT, mend=mend)


def asked(address: str) -> tuple[list[Answer], list[Finding]]:
    """What each node of the cluster at `address` says; no answers and one finding where none runs, or lets us in."""
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = address.rpartition(":")
    if address != "auto" and (problem := _problem(host, port)):  # Ray itself would try for minutes
        return [], [Finding(where=address, what="cluster", found=problem, verdict=Verdict.FAULT, mend=_MEND)]
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address == "auto" and isinstance(error, ConnectionError):
            return [], [Finding(where="Ray", what="cluster", found="none runs here")]
        said = str(error).splitlines()[0]
        return [], [Finding(where="Ray", what="cluster", found=said, verdict=Verdict.FAULT, mend=_MEND)]
    try:
        return _asked()
    finally:
        ray.shutdown()


def _asked() -> tuple[list[Answer], list[Finding]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node for node in nodes if node["Alive"]]
    found = [
        Finding(
            where=node["NodeManagerHostname"],
            what="node",
            found="dead",
            verdict=Verdict.WARNING,
            mend="look at its host; `ray up` again, or start Ray there, brings it back",
        )
        for node in nodes
        if not node["Alive"] and node["NodeManagerAddress"] not in {each["NodeManagerAddress"] for each in alive}
    ]
    places = [(node["NodeManagerAddress"], node["NodeManagerPort"]) for node in alive]
    task = ray.remote(num_cpus=0, max_retries=0)(_told)
    answers = []
    for node in alive:
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asking = task.options(scheduling_strategy=where).remote(places)
        began_s = time.time()
        try:
            told, unreached = ray.get(asking, timeout=ASKED_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            reason = str(error).strip().splitlines()[-1]
            mend = "is Trimtab installed there? Look at the node in Ray's dashboard"
            name = node["NodeManagerHostname"]
            found.append(Finding(where=name, what="node", found=reason, verdict=Verdict.FAULT, mend=mend))
            continue
        ahead_s = told.time_s - min(max(told.time_s, began_s), time.time())
        answers.append(Answer(facts=told, ahead_s=ahead_s, unreached=tuple(unreached)))
    found += _reached(answers)
    found.append(Finding(where="Ray", what="cluster", found=f"{len(alive)} nodes, Ray {ray.__version__}"))
    return answers, found


def _reached(answers: Sequence[Answer]) -> Iterator[Finding]:
    for each in answers:
        if each.unreached:
            yield Finding(
                where=each.facts.host,
                what="reachability",
                found=f"cannot connect to {', '.join(each.unreached)}",
                verdict=Verdict.FAULT,
                mend="open the firewall between the nodes: Ray's nodes connect to each other on all ports",
            )


def _told(places: Sequence[tuple[str, int]]) -> tuple[Facts, list[str]]:
    """Runs on the node."""
    problems = [(f"{host}:{port}", _problem(host, port)) for host, port in places]
    return facts(), [f"{place} ({problem})" for place, problem in problems if problem]


def _problem(host: str, port: int | str) -> str | None:
    """Why no connection can be made; None where one can."""
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, ValueError) as error:
        return f"no connection: {error}"
    return None
