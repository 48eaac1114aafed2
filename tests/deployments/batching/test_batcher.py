"""The batcher: who shares a call, and who fails alone."""

import asyncio
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.batching.admission import Limits
from deployments.batching.batcher import Batcher
from deployments.batching.pace import Pace
from deployments.errors import DeadlineError, OverloadedError, RequestError, UnavailableError


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


def test_what_a_call_took_is_told_apart_from_stacking_and_splitting():
    done = []

    def run(feeds):
        time.sleep(0.02)
        return {"y": feeds["x"]}

    async def main():
        batcher = Batcher(run, Limits(max_batch_size=4), inline=True, report=done.append)
        batcher.start()
        wide = np.ones((1, 2**22), np.float32)  # 16 MiB: copying four of them takes its time
        await asyncio.gather(*(batcher.submit({"x": wide}) for _ in range(4)))
        await batcher.stop()

    asyncio.run(main())
    (batch,) = done
    assert 0.001 < batch.input_s < batch.duration_s - 0.02
    assert 0 < batch.output_s < batch.duration_s


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


def test_a_request_larger_than_a_call_is_answered_by_several_in_order(inline):
    recorder = Recorder()
    large, small = serve(recorder, [rows(*range(21)), rows(50)], inline)
    assert large.outputs["y"].ravel().tolist() == [2 * i for i in range(21)]
    assert small.outputs["y"].item() == 100
    assert max(shape[0] for shape in recorder.calls) == 8
    assert large.submitted_ns <= large.started_ns < large.ended_ns


def test_more_rows_than_a_request_may_have_are_refused(inline):
    (answer,) = serve(Recorder(), [rows(*range(5000))], inline)
    assert isinstance(answer, RequestError)
    assert "at most 4096, got 5000" in str(answer)


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


def batcher_of(run, **limits):
    return Batcher(run, Limits(**{"max_batch_size": 4, **limits}), inline=False, report=lambda _: None)


class Gate:
    """A model that waits until it is let go, and remembers what it was given."""

    def __init__(self):
        self.opened = threading.Event()
        self.seen = []

    def run(self, feeds):
        self.seen.append(feeds["x"].ravel().tolist())
        self.opened.wait(5)
        return {"y": feeds["x"]}


async def behind(gate, batcher, *submissions):
    """Submit while the model is busy with a first request; every outcome but that one's."""
    batcher.start()
    first = asyncio.create_task(batcher.submit({"x": rows(0)}))
    while not gate.seen:
        await asyncio.sleep(0.001)
    rest = [asyncio.create_task(batcher.submit({"x": rows(x)}, **options)) for x, options in submissions]
    await asyncio.sleep(0.03)
    gate.opened.set()
    outcomes = await asyncio.gather(*rest, return_exceptions=True)
    await first
    await batcher.stop()
    return outcomes


def test_a_lower_priority_number_goes_first_and_equals_in_order():
    gate = Gate()
    batcher = batcher_of(gate.run, max_batch_size=1)
    asyncio.run(behind(gate, batcher, *((x, {"priority": p}) for x, p in [(1, 9), (2, 1), (3, 9), (4, 1)])))
    assert gate.seen == [[0], [2], [4], [1], [3]]


def test_a_request_whose_time_is_up_is_told_at_once_and_costs_no_call():
    gate = Gate()
    late, fine = asyncio.run(behind(gate, batcher_of(gate.run), (1, {"timeout_s": 0.01}), (2, {"timeout_s": 5})))
    assert isinstance(late, DeadlineError)
    assert "within its 0.01 s" in str(late)
    assert fine.outputs["y"].item() == 2
    assert gate.seen == [[0], [2]]


def test_a_full_queue_refuses_and_says_when_to_try_again():
    gate = Gate()
    outcomes = asyncio.run(behind(gate, batcher_of(gate.run, max_queue_size=3), *((x, {}) for x in range(5))))
    refused = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
    assert outcomes[3:] == refused
    assert refused[0].retry_after == (b"retry-after", b"1")


def test_a_latency_target_bounds_batches_and_queue():
    """At 10 ms a row and a target of 100 ms: five rows a batch, and a queue of no more than one batch."""
    pace = Pace()
    for size in (1, 2, 4, 8):
        pace.learn(size, 0.01 * size)
    gate = Gate()
    limits = Limits(max_batch_size=64, latency_target_s=0.1)
    batcher = Batcher(gate.run, limits, inline=False, report=lambda _: None, pace=pace)
    outcomes = asyncio.run(behind(gate, batcher, *((x, {}) for x in range(20))))
    assert max(map(len, gate.seen)) <= 5
    assert sum(isinstance(outcome, OverloadedError) for outcome in outcomes) == 15


def test_in_a_batch_of_many_a_bad_request_costs_few_calls_more():
    recorder = Recorder()
    values = [float(x) for x in range(64)]
    values[37] = float("nan")
    answers = serve(recorder, [rows(x) for x in values], True, max_batch_size=64)
    assert [x for x, answer in zip(values, answers, strict=True) if isinstance(answer, Exception)] == [values[37]]
    assert len(recorder.calls) <= 2 * 7


@settings(max_examples=60)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2)), max_size=30),
    inline=st.booleans(),
    leave=st.sets(st.integers(0, 29)),
)
def test_whatever_comes_each_gets_its_own_rows_once_and_no_batch_is_too_large(sizes, inline, leave):
    calls = []

    def run(feeds):
        calls.append(feeds["x"].shape)
        return {"y": feeds["x"] * 2}

    async def main():
        batcher = Batcher(run, Limits(max_batch_size=5), inline=inline, report=lambda _: None)
        batcher.start()
        requests = [np.full((count, width), number) for number, (count, width, _) in enumerate(sizes)]
        tasks = [
            asyncio.create_task(batcher.submit({"x": x}, priority=priority))
            for x, (*_, priority) in zip(requests, sizes, strict=True)
        ]
        await asyncio.sleep(0)
        for number in leave:
            if number < len(tasks):
                tasks[number].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert batcher._admission.num_waiting == 0
        await batcher.stop()
        return requests, answers

    requests, answers = asyncio.run(main())
    for number, (x, answer) in enumerate(zip(requests, answers, strict=True)):
        if number in leave:
            assert isinstance(answer, asyncio.CancelledError)
        else:
            np.testing.assert_array_equal(answer.outputs["y"], x * 2)
    assert all(shape[0] <= 5 for shape in calls)
    assert sum(shape[0] for shape in calls) == sum(
        count for number, (count, *_) in enumerate(sizes) if number not in leave
    )
