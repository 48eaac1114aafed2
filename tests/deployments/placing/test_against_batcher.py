"""The real batcher, on a clock that is turned by hand, answers when the simulation says."""

import asyncio
import selectors
from types import SimpleNamespace

import numpy as np
import pytest

from deployments.batching import calls
from deployments.batching.batcher import Batcher
from deployments.batching.pace import Pace
from deployments.errors import OverloadedError
from deployments.placing.arrivals import arrivals
from deployments.placing.simulation import PACE_LEARNT_AT, simulate
from deployments.placing.traffic import Node
from deployments.placing.workload import Workload


class TurnedClock(asyncio.SelectorEventLoop):
    """An event loop that never waits: where it would, its clock goes on at once."""

    def __init__(self):
        super().__init__(Turning(self))
        self.now_s = 0.0

    def time(self):
        return self.now_s


class Turning(selectors.SelectSelector):
    def __init__(self, loop):
        super().__init__()
        self._loop = loop

    def select(self, timeout=None):
        self._loop.now_s += timeout or 0.0
        return super().select(0)


class Device:
    """Runs the batcher's calls in the place of its thread: each ends when its time has passed on the loop's clock."""

    def __init__(self, loop, load):
        self._loop, self._load = loop, load
        self._into_call_s = 0.0

    def submit(self, function, loop, batch):
        duration_s = self._load.duration_s(sum(waiting.rows for waiting in batch))
        loop.call_later(duration_s, self._over, function, loop, batch, duration_s)

    def _over(self, function, loop, batch, duration_s):
        self._into_call_s = -duration_s
        function(loop, batch)

    def run(self, inputs):
        self._into_call_s = 0.0
        return {"y": inputs["x"]}

    def time_ns(self):
        return round((self._loop.now_s + self._into_call_s) * 1e9)

    def shutdown(self):
        pass


def answered(load, times, monkeypatch):
    """Seconds until the real batcher answers each request, infinite where it refuses."""
    loop = TurnedClock()
    device = Device(loop, load)
    monkeypatch.setattr(calls, "time", SimpleNamespace(time_ns=device.time_ns))
    pace = Pace()
    for size in PACE_LEARNT_AT:
        pace.learn(size, load.duration_s(size))
    batcher = Batcher(device.run, load.limits, inline=False, report=lambda _: None, pace=pace)
    batcher._thread = device
    batcher._admission._clock = loop.time
    feeds = {"x": np.zeros((load.samples, 1), np.float32)}

    async def one(at_s):
        await asyncio.sleep(at_s - loop.time())
        try:
            await batcher.submit(feeds)
        except OverloadedError:
            return np.inf
        return loop.time() - at_s

    async def everything():
        batcher.start()
        found = await asyncio.gather(*map(one, times.tolist()))
        await batcher.stop()
        return found

    try:
        return np.array(loop.run_until_complete(everything()))
    finally:
        loop.close()


@pytest.mark.parametrize("target_s", [None, 0.1])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("burstiness", [1.0, 4.0])
def test_the_real_batcher_answers_when_the_simulation_says(monkeypatch, burstiness, samples, target_s):
    load = Workload(
        name="m",
        sample_s=0.004,
        call_s=0.006,
        requests_per_s=150 / samples,
        burstiness=burstiness,
        samples=samples,
        latency_target_s=target_s,
        max_batch_size=8,
    )
    times = np.round(arrivals([load], 1000, seed=0)[0], 6)
    node = Node(name="n", cpus=1, memory=1)
    (model,) = simulate([load], [node], ((1,),), [times]).models
    real_s = answered(load, times, monkeypatch)
    # Of requests that come in one moment, either may be first.
    np.testing.assert_allclose(np.sort(times + real_s), np.sort(times + model.latency_s), atol=1e-6)
