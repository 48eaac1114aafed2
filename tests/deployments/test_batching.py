"""The batcher: who shares a call, and who fails alone."""

import asyncio
import threading
import time

import numpy as np
import pytest

from deployments.batching import Batcher, Limits
from deployments.errors import RequestError, UnavailableError


class Recorder:
    """A model that doubles its input and remembers how it was called."""

    def __init__(self, delay_s=0.0):
        self.delay_s = delay_s
        self.calls = []

    def run(self, feeds):
        self.calls.append(feeds["x"].shape)
        time.sleep(self.delay_s)
        if np.isnan(feeds["x"]).any():
            raise ValueError("NaN")
        return {"y": feeds["x"] * 2}


@pytest.fixture(params=[True, False], ids=["inline", "thread"])
def inline(request):
    return request.param


def serve(recorder, requests, inline, max_batch_size=8):
    """Submit all `requests` at once; each one's prediction or error."""

    async def main():
        batcher = Batcher(recorder.run, Limits(max_batch_size=max_batch_size), inline=inline, report=done.append)
        batcher.start()
        answers = await asyncio.gather(*(batcher.submit({"x": x}) for x in requests), return_exceptions=True)
        await batcher.stop()
        return answers

    done = []
    answers = asyncio.run(main())
    assert sum(each.num_samples for each in done) == sum(
        len(x) for x, answer in zip(requests, answers, strict=True) if not isinstance(answer, Exception)
    )
    return answers


def rows(*values):
    return np.array(values, np.float32).reshape(-1, 1)


def test_requests_that_arrive_together_share_a_call(inline):
    recorder = Recorder()
    answers = serve(recorder, [rows(i) for i in range(8)], inline)
    assert recorder.calls == [(8, 1)]
    assert [answer.outputs["y"].item() for answer in answers] == [2 * i for i in range(8)]


def test_a_batch_never_exceeds_the_largest(inline):
    recorder = Recorder()
    answers = serve(recorder, [rows(i, i) for i in range(11)], inline, max_batch_size=5)
    assert max(shape[0] for shape in recorder.calls) <= 5
    assert [answer.outputs["y"].ravel().tolist() for answer in answers] == [[2 * i, 2 * i] for i in range(11)]


def test_requests_of_other_shapes_wait_for_a_call_of_their_own(inline):
    recorder = Recorder()
    wide, narrow = np.ones((1, 3), np.float32), np.ones((1, 2), np.float32)
    answers = serve(recorder, [wide, narrow, wide, narrow], inline)
    assert sorted(recorder.calls) == [(2, 2), (2, 3)]
    assert [answer.outputs["y"].shape[1] for answer in answers] == [3, 2, 3, 2]


def test_a_bad_request_fails_alone(inline):
    recorder = Recorder()
    answers = serve(recorder, [rows(1), rows(np.nan), rows(3)], inline)
    assert answers[0].outputs["y"].item() == 2
    assert isinstance(answers[1], ValueError)
    assert answers[2].outputs["y"].item() == 6


def test_too_many_rows_are_refused(inline):
    (answer,) = serve(Recorder(), [rows(*range(9))], inline)
    assert isinstance(answer, RequestError)
    assert "at most 8, got 9" in str(answer)


def test_inputs_must_agree_on_the_batch_size():
    async def main():
        batcher = Batcher(lambda feeds: {}, Limits(max_batch_size=4), inline=True, report=lambda _: None)
        batcher.start()
        try:
            with pytest.raises(RequestError, match=r"same batch size, got \[1, 2\]"):
                await batcher.submit({"a": rows(1), "b": rows(1, 2)})
        finally:
            await batcher.stop()

    asyncio.run(main())


def test_a_slow_model_leaves_the_event_loop_free():
    recorder = Recorder(delay_s=0.2)
    ticks = 0

    async def main():
        nonlocal ticks
        batcher = Batcher(recorder.run, Limits(max_batch_size=8), inline=False, report=lambda _: None)
        batcher.start()
        answer = asyncio.create_task(batcher.submit({"x": rows(1)}))
        while not answer.done():
            ticks += 1
            await asyncio.sleep(0.01)
        await batcher.stop()

    asyncio.run(main())
    assert ticks >= 5


def test_a_request_whose_client_left_costs_no_call():
    recorder = Recorder(delay_s=0.05)

    async def main():
        batcher = Batcher(recorder.run, Limits(max_batch_size=1), inline=False, report=lambda _: None)
        batcher.start()
        first = asyncio.create_task(batcher.submit({"x": rows(1)}))
        await asyncio.sleep(0.01)
        gone = asyncio.create_task(batcher.submit({"x": rows(2)}))
        await asyncio.sleep(0)
        gone.cancel()
        await first
        await batcher.stop()

    asyncio.run(main())
    assert len(recorder.calls) == 1


def test_stopping_finishes_the_batch_at_hand_and_refuses_the_rest():
    started = threading.Event()

    def run(feeds):
        started.set()
        time.sleep(0.1)
        return {"y": feeds["x"]}

    async def main():
        batcher = Batcher(run, Limits(max_batch_size=1), inline=False, report=lambda _: None)
        batcher.start()
        first = asyncio.create_task(batcher.submit({"x": rows(1)}))
        second = asyncio.create_task(batcher.submit({"x": rows(2)}))
        await asyncio.to_thread(started.wait)
        await batcher.stop()
        assert (await first).outputs["y"].item() == 1
        with pytest.raises(UnavailableError):
            await second
        with pytest.raises(UnavailableError):
            await batcher.submit({"x": rows(3)})

    asyncio.run(main())
