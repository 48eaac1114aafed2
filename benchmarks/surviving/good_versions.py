"""How often a version that is no worse is rolled back: a fifth of the rollouts on a real server, the others on a clock
that is simulated, with noise that is not.

Two processes serve the same version side by side; how long their requests took, what they took of memory and of the
processor is recorded window by window. Each simulated rollout plays stretches of it back, one process as the baseline
and the other as the candidate, through the same states and the same analysis as a rollout of a cluster.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.servers import Server, infer_path, replica, request_body, trimtab
from benchmarks.surviving import good_rollouts
from benchmarks.surviving.clients import HttpCalls
from benchmarks.surviving.models import walking
from benchmarks.surviving.versions import copied
from benchmarks.throughput import Figures
from deployments.rollout import state
from deployments.rollout.analysis.judge import judge
from deployments.rollout.evidence import Arm, Paired, Window, duration_bin
from deployments.rollout.plan import RolloutSettings
from optimization.artifact.store import Artifact

SIMULATED, QUICK_SIMULATED = 80, 10
RECORDED_S, QUICK_RECORDED_S = 90.0, 20.0
CLIENTS = 4
"""Of each of the two."""
PACE_S = 0.01
"""From a client's request to its next."""
STRETCH = 10
"""Windows that are played back in one go, so that what hung together in time still does."""
FAILED, FAILED_IN_BURSTS, BURSTS = 0.001, 0.03, 0.02
"""Share of the requests that fail in both arms, and in that share of the windows in which more do."""
AGREED, CHANGED, COMPARED = 0.95, 0.002, 20
"""Share of rows answered as the teacher does, and otherwise than by the baseline; rows a second that are compared."""


def false_figures(options: argparse.Namespace) -> Figures:
    """Of a hundred rollouts of good versions, those that ended in a rollback."""
    real = good_rollouts.rolled_out(rounds=1) if options.quick else good_rollouts.rolled_out()
    settings = RolloutSettings(auto=True)
    recorded = recording(QUICK_RECORDED_S if options.quick else RECORDED_S, settings.window_s)
    number = QUICK_SIMULATED if options.quick else SIMULATED
    simulated = [_rolled_out(settings, recorded, np.random.default_rng(seed)) for seed in range(number)]
    took_s = np.median([each.since_s for each in simulated])
    print(f"{number} simulated rollouts, {took_s:.0f} s each at the median", flush=True)
    why = [each["decisions"][-2]["text"] for each in real if each["phase"] != "promoted"]
    why += [each.decisions[-1].text for each in simulated if each.phase != "promoting"]
    for each in why:
        print(each, flush=True)
    return {"false_rollback": len(why) * 100 / (len(real) + number)}


def recording(seconds: float, window_s: float) -> list[Window]:
    """What two processes of one model take that are asked equally often, in windows."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = walking(Path(folder))
        twin = copied(artifact, f"{artifact.manifest.name}-twin")
        with trimtab(artifact, beside=[twin]) as server:
            arms = [_Recorded(server, each) for each in (artifact, twin)]
            return asyncio.run(_recorded(arms, seconds, window_s))


class _Timed(HttpCalls):
    """Tells how long each request took."""

    def __init__(self, server: Server, artifact: Artifact) -> None:
        super().__init__(server.http_port, infer_path(artifact), request_body(artifact))
        self.durations: Counter[int] = Counter()

    async def ask(self) -> str | None:
        began = time.perf_counter()
        problem = await super().ask()
        if problem is None:
            self.durations[duration_bin(time.perf_counter() - began)] += 1
        return problem


class _Recorded:
    """One of the two processes, and its clients."""

    def __init__(self, server: Server, artifact: Artifact) -> None:
        self.process = replica(server, artifact.manifest.name)
        self.clients = [_Timed(server, artifact) for _ in range(CLIENTS)]
        self._cpu_s = self._cpu_time_s()

    def arm(self) -> Arm:
        """What it did since the last time."""
        durations: Counter[int] = sum((each.durations for each in self.clients), Counter())
        for each in self.clients:
            each.durations = Counter()
        before_s, self._cpu_s = self._cpu_s, self._cpu_time_s()
        return Arm(
            asked=1,
            told=1,
            requests=durations.total(),
            durations=dict(durations),
            memory_bytes={"process": self.process.memory_info().rss},
            cpu_s=max(0.0, self._cpu_s - before_s),
        )

    def _cpu_time_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


async def _recorded(arms: Sequence[_Recorded], seconds: float, window_s: float) -> list[Window]:
    async def ask(client: _Timed) -> None:
        while True:
            await client.ask()
            await asyncio.sleep(random.expovariate(1 / PACE_S))

    asking = [asyncio.create_task(ask(client)) for arm in arms for client in arm.clients]
    await asyncio.sleep(5.0)  # what is slow at first is no noise
    for arm in arms:
        arm.arm()
    windows = []
    for number in range(round(seconds / window_s)):
        await asyncio.sleep(window_s)
        one, other = (arm.arm() for arm in arms)
        windows.append(Window(start_s=number * window_s, end_s=(number + 1) * window_s, baseline=one, candidate=other))
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return windows


def _rolled_out(settings: RolloutSettings, recorded: Sequence[Window], rng: np.random.Generator) -> state.Rollout:
    """A rollout from its first step to its promotion or its end, judged at each window."""
    rollout = state.started(state.begun("model", "1", "2", settings, at_s=0.0, why="simulated"), at_s=0.0)
    seen: list[Window] = []
    for window in _played(recorded, rng):
        if rollout.phase not in state.TRIED:
            break
        seen.append(_thinned(window, rollout.share, rng))
        verdict = judge(seen, settings.analysis, since_s=rollout.since_s)
        rollout = state.judged(rollout, verdict.kind, verdict.text, None, at_s=window.end_s)
    return rollout


def _played(recorded: Sequence[Window], rng: np.random.Generator) -> Iterator[Window]:
    """Stretches of what was recorded, one after the other without an end; which process is which is drawn once."""
    is_swapped = rng.random() < 1 / 2
    sizes = [2**28, 2**28]
    at_s = 0.0
    while True:
        first = int(rng.integers(len(recorded)))
        for place in range(first, min(first + STRETCH, len(recorded))):
            window = recorded[place]
            before = recorded[max(first, place - 1)]
            arms = []
            for at, (arm, old) in enumerate(((window.baseline, before.baseline), (window.candidate, before.candidate))):
                sizes[at] += arm.memory_bytes["process"] - old.memory_bytes["process"]
                arms.append(replace(arm, memory_bytes={"process": sizes[at]}))
            took_s = window.end_s - window.start_s
            one, other = reversed(arms) if is_swapped else arms
            yield Window(start_s=at_s, end_s=at_s + took_s, baseline=one, candidate=other)
            at_s += took_s


def _thinned(window: Window, share: float, rng: np.random.Generator) -> Window:
    """The same at that share of the requests, by chance, and with answers that fail or differ as often in both arms."""
    failed = FAILED_IN_BURSTS if rng.random() < BURSTS else FAILED
    rows = int(COMPARED * (window.end_s - window.start_s))
    paired = Paired(rows=rows, same=int(rng.binomial(rows, 1 - CHANGED)))
    return replace(
        window,
        baseline=_part(window.baseline, 1 - share, failed, rows, rng),
        candidate=_part(window.candidate, share, failed, rows, rng),
        paired=paired,
    )


def _part(arm: Arm, share: float, failed: float, rows: int, rng: np.random.Generator) -> Arm:
    kept = {index: int(rng.binomial(count, share)) for index, count in arm.durations.items()}
    num = sum(kept.values())
    errors = int(rng.binomial(num, failed))
    return replace(
        arm,
        requests=num + errors,
        errors=errors,
        durations={index: count for index, count in kept.items() if count},
        cpu_s=arm.cpu_s * share,
        compared=rows,
        agreed=int(rng.binomial(rows, AGREED)),
    )
