"""Stages of a pipeline that are killed under load, one of two replicas or the only one."""

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from benchmarks.servers import Server, pipeline
from benchmarks.surviving.capacity import replicas, wait_until_running
from benchmarks.surviving.clients import asking, peak_per_s
from benchmarks.surviving.kills import SHARE, kills_of
from benchmarks.surviving.models import calls, walking
from benchmarks.throughput import Figures

NAME = "chain"
REPLICAS = {"first": 2, "second": 1}


def figures(options: argparse.Namespace) -> Figures:
    """Requests that failed, by HTTP and gRPC, while replicas of both stages were killed in turn."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = walking(Path(folder))
        stages = [
            {
                "name": name,
                "artifact": artifact.manifest.name,
                "inputs": {"x": "first.y"} if name == "second" else {},
                "settings": {"scaling": {"min_replicas": number, "max_replicas": number}},
                "num_cpus": 0.1,
            }
            for name, number in REPLICAS.items()
        ]
        args = {"pipeline": NAME, "artifacts": folder, "stages": stages, "outputs": {"y": "second.y"}, "num_cpus": 0.1}
        with pipeline(args) as server:
            for stage, number in REPLICAS.items():
                wait_until_running(server, f"{NAME}:{stage}", number)
            clients = calls(server, NAME)
            per_s = SHARE * peak_per_s(clients)
            with asking(clients, per_s) as asked:
                for number in range(kills_of(options)):
                    time.sleep(random.uniform(0.5, 1.5))
                    stage = list(REPLICAS)[number % len(REPLICAS)]
                    before = random.choice(replicas(server, f"{NAME}:{stage}"))
                    before.kill()
                    wait_until_running(server, f"{NAME}:{stage}", REPLICAS[stage], without=before.pid)
                    asyncio.run(_asked_once(server))  # a stage of one replica answers once it has the next
                time.sleep(5)  # the last one is found and asked
    print(f"{per_s:.0f} requests/s; {asked}", flush=True)
    return {"killed_stage_failed": len(asked.failures)}


async def _asked_once(server: Server) -> None:
    client = calls(server, NAME, 1)[0]
    await client.ask()
    await client.close()
