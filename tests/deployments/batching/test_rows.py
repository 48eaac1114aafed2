"""Whose rows are whose: outputs that do not carry the batch, requests larger than a call, errors of our own."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.batching.admission import Limits
from deployments.batching.batcher import Batcher
from deployments.batching.padding import Padding


def rows(*values):
    return np.array(values, np.float32).reshape(-1, 1)


def answers_of(run, requests, *, inline=True, report=lambda _: None, padding=None, name="x", **limits):
    """Submit all `requests` at once; each one's outputs or error."""

    async def main():
        limits_ = Limits(**{"max_batch_size": 8, **limits})
        batcher = Batcher(run, limits_, inline=inline, report=report, padding=padding)
        batcher.start()
        async with asyncio.timeout(10):
            found = await asyncio.gather(*(batcher.submit({name: x}) for x in requests), return_exceptions=True)
        await batcher.stop()
        return [each if isinstance(each, Exception) else each.outputs for each in found]

    return asyncio.run(main())


def detect(feeds):
    """A detector: as many detections in a picture as its number says, each with the number of its picture."""
    found = [np.full((int(x), 2), x, np.float32) for x in feeds["x"].ravel()]
    return {"boxes": np.concatenate(found)}


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("numbers", [[1, 2, 3], [3, 0, 1, 0], [2, 2], [0, 0]])
def test_of_a_detector_nobody_gets_anothers_detections(numbers, inline):
    for is_batched in (True, False):
        got = answers_of(detect, [rows(n) for n in numbers], inline=inline, is_batched=is_batched)
        for number, outputs in zip(numbers, got, strict=True):
            if sum(numbers) != len(numbers) or not is_batched:  # else nothing tells: hence `execution.rows`
                assert outputs["boxes"].tolist() == [[number, number]] * number


@pytest.mark.parametrize("inline", [True, False])
def test_an_output_without_a_dimension_wedges_nothing(inline):
    def run(feeds):
        return {"mean": feeds["x"].mean()}

    got = answers_of(run, [rows(1), rows(2), rows(1, 3)], inline=inline)
    assert [outputs["mean"] for outputs in got] == [1, 2, 2]


def test_after_outputs_that_could_not_be_shared_out_requests_are_called_one_by_one(caplog):
    calls = []

    def run(feeds):
        calls.append(len(feeds["x"]))
        return {"mean": feeds["x"].mean()}

    async def main():
        batcher = Batcher(run, Limits(max_batch_size=8), inline=True, report=lambda _: None)
        batcher.start()
        for _ in range(2):
            await asyncio.gather(*(batcher.submit({"x": rows(n)}) for n in range(3)))
        await batcher.stop()

    asyncio.run(main())
    assert calls == [3, 1, 1, 1, 1, 1, 1]
    assert "called one by one from now on: output 'mean' has shape [] for 3 rows" in caplog.text


@pytest.mark.parametrize("inline", [True, False])
def test_an_error_of_the_meters_neither_wedges_the_batcher_nor_costs_an_answer(inline):
    def report(_):
        raise RuntimeError("no meter")

    def run(feeds):
        return {"y": feeds["x"]}

    for _ in range(2):
        first, second = answers_of(run, [rows(1), np.ones((1, 3))], inline=inline, report=report)
        assert (first["y"].item(), second["y"].shape) == (1, (1, 3))


@pytest.mark.parametrize("inline", [True, False])
def test_an_error_of_the_batcher_itself_fails_the_requests_and_leaves_it_running(inline, monkeypatch):
    def run(feeds):
        return {"y": feeds["x"]}

    async def main():
        batcher = Batcher(run, Limits(max_batch_size=8), inline=inline, report=lambda _: None)
        batcher.start()
        with monkeypatch.context() as broken:
            broken.setattr(batcher._queue, "_stack_up", lambda *_: 1 / 0)
            async with asyncio.timeout(10):
                failed = await asyncio.gather(
                    *(batcher.submit({"x": rows(n)}) for n in range(3)), return_exceptions=True
                )
        async with asyncio.timeout(10):
            fine = await batcher.submit({"x": rows(7)})
        assert batcher._admission.num_waiting == 0
        await batcher.stop()
        return failed, fine

    failed, fine = asyncio.run(main())
    assert [type(each) for each in failed] == [ZeroDivisionError] * 3
    assert fine.outputs["y"].item() == 7


def test_a_large_request_leaves_others_their_turn():
    seen = []

    def run(feeds):
        seen.append(feeds["x"].ravel().tolist())
        return {"y": feeds["x"]}

    answers_of(run, [rows(*range(100)), rows(1000)], max_batch_size=10)
    assert [1000 in call for call in seen].index(True) <= 2
    assert sum(map(len, seen)) == 101


def test_a_large_request_whose_outputs_are_no_rows_is_called_as_one():
    def run(feeds):
        return {"sum": feeds["x"].sum()}

    (outputs,) = answers_of(run, [rows(*range(10))], max_batch_size=4)
    assert outputs["sum"] == 45


def test_a_large_request_whose_parts_differ_in_shape_is_called_as_one():
    def run(feeds):
        return {"y": np.repeat(feeds["x"], 1 + int(feeds["x"].max()), axis=1)}

    (outputs,) = answers_of(run, [rows(0, 1, 2, 3)], max_batch_size=2)
    assert outputs["y"].shape == (4, 4)


def test_a_model_that_does_not_batch_takes_a_request_as_it_is_whatever_its_shapes():
    def run(feeds):
        return {"shape": np.array(feeds["x"].shape)}

    got = answers_of(run, [np.ones((3, 2)), np.ones(100), np.array(1.0)], max_batch_size=1, is_batched=False)
    assert [outputs["shape"].tolist() for outputs in got] == [[3, 2], [100], []]


def test_raw_texts_whose_outputs_are_per_token_are_never_cut_to_a_guess():
    """Twelve words in eleven bytes: a guess from bytes would say two tokens."""

    def run(feeds):
        words = [text.split() for text in feeds["text"]]
        longest = max(map(len, words))
        return {"tags": np.array([[1] * len(each) + [0] * (longest - len(each)) for each in words])}

    def text(*texts):
        return np.array(texts, object)

    padding = Padding(inputs=frozenset(("input_ids",)), outputs=frozenset(("tags",)))
    got = answers_of(run, [text(b"a b c d e f"), text(b"g h")], padding=padding, name="text")
    assert [outputs["tags"].tolist() for outputs in got] == [[[1] * 6], [[1, 1]]]
    (refused,) = answers_of(run, [text(*[b"a"] * 9)], padding=padding, name="text")
    assert "at most 8, got 9" in str(refused)


@settings(max_examples=50)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    most=st.integers(1, 9),
    leave=st.sets(st.integers(0, 11)),
    inline=st.booleans(),
)
def test_requests_of_any_size_get_their_own_rows_in_order(counts, most, leave, inline):
    calls = []

    def run(feeds):
        calls.append(len(feeds["x"]))
        return {"y": feeds["x"] * 2}

    async def main():
        batcher = Batcher(run, Limits(max_batch_size=most), inline=inline, report=lambda _: None)
        batcher.start()
        requests = [np.arange(count)[:, None] + 100 * number for number, count in enumerate(counts)]
        tasks = [asyncio.create_task(batcher.submit({"x": x})) for x in requests]
        await asyncio.sleep(0)
        for number in leave & set(range(len(tasks))):
            tasks[number].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert batcher._admission.num_waiting == batcher._admission._rows == batcher._admission._work == 0
        await batcher.stop()
        return requests, answers

    requests, answers = asyncio.run(main())
    for number, (x, answer) in enumerate(zip(requests, answers, strict=True)):
        if number in leave:
            assert isinstance(answer, asyncio.CancelledError)
        else:
            np.testing.assert_array_equal(answer.outputs["y"], x * 2)
    assert max(calls, default=0) <= most
