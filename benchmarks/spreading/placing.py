"""What placing gains, by simulation, and how far the simulation is from the batcher it stands for.

The gain is that of the placement that the search finds for four MiniLMs on two nodes of two CPUs each, over one place
for each model: how many times the requests a second it answers, 99 % of each model's within the target. For the error,
a real model is asked by the clock through the real batcher in this process, and simulated with the very same arrivals.
"""

import asyncio
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import ByteSize

from benchmarks.models import mlp
from benchmarks.throughput import Figures, Rounds
from deployments.batching.admission import Limits
from deployments.batching.batcher import Batcher
from deployments.execution.prediction import BatchDone
from deployments.execution.session import Session
from deployments.placing.arrivals import Times, arrivals
from deployments.placing.placement import co_located, split
from deployments.placing.search import search, takes
from deployments.placing.simulation import simulate
from deployments.placing.traffic import Node
from deployments.placing.workload import Workload

GOAL = 0.99
SAMPLE_S, CALL_S = 0.0060, 0.0031
"""MiniLM-L6 in fp32, 32 tokens, one thread: 9.1 ms alone, 157 a second in batches of 8."""
BURSTINESS, TARGET_S = 4.0, 0.2
SWEPT = ((1.0, 0.2), (2.0, 0.1), (3.0, 0.2), (3.0, 0.1), (BURSTINESS, TARGET_S))

SIZE = 4096
"""Units of each layer of the model that is asked: some milliseconds a call."""
BUSY = 0.6
"""Share of the time the model would be at work if requests came one by one."""
MEASURED_BURSTINESS = 2.0
NODE = Node(name="here", cpus=2, memory=ByteSize(2**30))


def gain_figures(rounds: Rounds) -> Figures:
    """Gain of the proposed placement, and what it is at other traffic."""
    num_requests = 10_000 if rounds.rounds == 1 else 40_000
    gains = {each: _gain(*each, num_requests) for each in SWEPT}
    return {"place_gain": gains[BURSTINESS, TARGET_S]}


def _gain(burstiness: float, target_s: float, num_requests: int) -> float:
    nodes = [Node(name=name, cpus=2, memory=ByteSize(8 * 2**30)) for name in ("one", "two")]
    models = [
        Workload(
            name=f"model-{number}",
            sample_s=SAMPLE_S,
            call_s=CALL_S,
            requests_per_s=10.0,
            burstiness=burstiness,
            latency_target_s=target_s,
            max_batch_size=16,
            weights_bytes=90 * 2**20,
            replica_bytes=150 * 2**20,
        )
        for number in range(4)
    ]
    apart = split(models, nodes)
    taken = partial(takes, models, nodes, times=arrivals(models, num_requests, seed=0), goal=GOAL)
    headroom = max(taken(apart), taken(co_located(models, nodes)))
    found, _ = search(models, nodes, num_requests=num_requests, seed=0, goal=GOAL, headroom=headroom)
    reported = partial(takes, models, nodes, times=arrivals(models, num_requests, seed=1), goal=GOAL)
    total = sum(model.requests_per_s for model in models)
    one, best = total * reported(apart), total * reported(found)
    traffic = f"burstiness {burstiness:g}, {target_s:g} s"
    print(f"{traffic}: {one:.1f} requests/s with each model in one place, {best:.1f} as {found}", flush=True)
    return best / one


def error_figures(rounds: Rounds) -> Figures:
    """Relative error of the simulated p50 and p99, medians of the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session(mlp(Path(folder), SIZE, SIZE, SIZE), num_threads=1, max_batch_size=16)
    errors = [_errors(session, max(10.0, 5 * rounds.seconds), seed) for seed in range(max(3, rounds.rounds))]
    p50, p99 = (statistics.median(each) for each in zip(*errors, strict=True))
    return {"place_p50_error": p50, "place_p99_error": p99}


def _errors(session: Session, seconds: float, seed: int) -> tuple[float, float]:
    """In the simulation a call takes what it took in this run, by the line through the medians of each size: how much
    other processes of the machine slow a model is not for the simulation to know. Single calls that they hold up are in
    the measured p99 alone, so the longest is printed."""
    requests_per_s = BUSY / session.pace.duration_s(1)
    (times,) = arrivals([_workload(*session.pace.line(), requests_per_s)], round(seconds * requests_per_s), seed)
    sent, took, calls = asyncio.run(_asked(session, times))
    by_size: dict[int, list[float]] = {}
    for call in calls:
        by_size.setdefault(call.num_samples, []).append(call.duration_s)
    points = [(size, statistics.median(each), len(each) ** 0.5) for size, each in by_size.items()]
    sizes, medians_s, weights = zip(*points, strict=True)
    slope, start = np.polyfit(sizes, medians_s, 1, w=weights)
    load = _workload(max(0.0, float(slope)), max(0.0, float(start)), requests_per_s, session.max_batch_size)
    (simulated,) = simulate([load], [NODE], ((1,),), [sent]).models
    pairs = [(np.quantile(simulated.latency_s, q), np.quantile(took, q)) for q in (0.5, 0.99)]
    told = "; ".join(f"{1e3 * ours:.2f} ms simulated, {1e3 * theirs:.2f} measured" for ours, theirs in pairs)
    longest_s = max(call.duration_s - load.duration_s(call.num_samples) for call in calls)
    held_up = f"a call was held up by {1e3 * longest_s:.0f} ms"
    print(f"{len(sent)} requests at {requests_per_s:.0f}/s: p50 and p99 {told}; {held_up}", flush=True)
    p50, p99 = (float(abs(ours / theirs - 1)) for ours, theirs in pairs)
    return p50, p99


def _workload(sample_s: float, call_s: float, requests_per_s: float, max_batch_size: int = 1) -> Workload:
    return Workload(
        name="model",
        sample_s=sample_s,
        call_s=call_s,
        requests_per_s=requests_per_s,
        burstiness=MEASURED_BURSTINESS,
        max_batch_size=max_batch_size,
    )


async def _asked(session: Session, times: Times) -> tuple[Times, Times, list[BatchDone]]:
    """When each request was really sent, how long its answer took, in seconds, and the calls of the model."""
    calls: list[BatchDone] = []
    batcher = Batcher(
        session.run,
        Limits(max_batch_size=session.max_batch_size, max_queue_size=10**6),
        inline=False,
        report=calls.append,
    )
    batcher.start()
    feeds = {"x": np.ones((1, SIZE), np.float32)}
    began_s = time.perf_counter() + 0.1
    sent, took = np.zeros(len(times)), np.zeros(len(times))

    async def one(number: int, at_s: float) -> None:
        await asyncio.sleep(max(0.0, began_s + at_s - time.perf_counter()))
        sent_s = time.perf_counter()
        await batcher.submit(feeds)
        sent[number], took[number] = sent_s - began_s, time.perf_counter() - sent_s

    await asyncio.gather(*(one(number, float(at_s)) for number, at_s in enumerate(times)))
    await batcher.stop()
    order = np.argsort(sent, kind="stable")
    return sent[order], took[order], calls
