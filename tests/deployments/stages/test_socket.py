"""Calls of a stage by the socket of its node: what goes in comes out, whatever its type, and what ends is told."""

import asyncio
import socket
import stat
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from deployments.oip.urgency import Urgency
from deployments.scatter.part import GoneError, LostError, Refusal
from deployments.stages.socket import StageConnection, StageSocket
from deployments.stages.stage_call import Failure, Missing, StageCall
from tests.deployments.stages.staged import in_a_loop

TENSORS = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "halves": np.ones((3, 1), np.float16),
    "brain": np.array([[1.5, -2.0]], ml_dtypes.bfloat16),
    "whole": np.array([[2**40]], np.int64),
    "bits": np.array([True, False, True]),
    "texts": np.array([b"", b"a\0b", "ä".encode()], dtype=object),
    "": np.zeros((0, 4), np.uint8),
    "turned": np.arange(6, dtype=np.float64).reshape(2, 3).T,
}


def call(inputs, **changes):
    return StageCall(version="7", inputs=inputs, urgency=Urgency(timeout_s=0.5, priority=2), **changes)


@asynccontextmanager
async def connected(answer):
    socket = StageSocket(answer)
    await socket.start()
    connection = await StageConnection.open(socket.path)
    yield socket, connection
    connection.close()
    await socket.stop()


@in_a_loop
async def test_tensors_of_every_type_come_back_as_they_went():
    asked = []

    async def echo(call):
        asked.append(call)
        return dict(call.inputs)

    tensors = {name: array for name, array in TENSORS.items() if name}
    rows = np.array([True, False])
    async with connected(echo) as (_, connection):
        answer = await connection.answer(call(tensors, rows=rows, all_rows=frozenset({"floats"})))
        empty = await connection.answer(call({"none": TENSORS[""]}))
    for name, array in tensors.items():
        assert answer[name].dtype == array.dtype
        np.testing.assert_array_equal(answer[name], array)
    assert empty["none"].shape == (0, 4)
    assert (asked[0].version, asked[0].urgency) == ("7", Urgency(timeout_s=0.5, priority=2))
    np.testing.assert_array_equal(asked[0].rows, rows)
    assert asked[0].all_rows == {"floats"}
    assert asked[1].rows is None


@pytest.mark.parametrize(
    "answer",
    [
        Refusal(reason="no room", retry_after_s=2.0),
        Failure(kind="DeadlineError", message="late"),
        Missing(inputs=("x",)),
    ],
)
def test_what_is_no_output_comes_back_as_it_went(answer):
    async def said(_):
        return answer

    @in_a_loop
    async def ask():
        async with connected(said) as (_, connection):
            assert await connection.answer(call({})) == answer

    ask()


@in_a_loop
async def test_many_calls_are_under_way_at_a_time_and_each_gets_its_own_answer():
    async def later(call):
        await asyncio.sleep(0.02 * (3 - int(call.inputs["n"][0])))
        return dict(call.inputs)

    async with connected(later) as (_, connection):
        answers = await asyncio.gather(*(connection.answer(call({"n": np.array([n])})) for n in range(3)))
    assert [int(answer["n"][0]) for answer in answers] == [0, 1, 2]


@in_a_loop
async def test_a_call_that_is_given_up_ends_where_it_is_computed_and_no_other_does():
    ended = asyncio.Event()

    async def waits(call):
        if "long" not in call.inputs:
            return dict(call.inputs)
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with connected(waits) as (_, connection):
        task = asyncio.ensure_future(connection.answer(call({"long": np.zeros(1)})))
        await asyncio.sleep(0.01)
        task.cancel()
        await ended.wait()
        assert "short" in await connection.answer(call({"short": np.zeros(1)}))


@in_a_loop
async def test_a_replica_that_goes_is_lost_to_all_that_wait_for_it_and_to_all_that_come():
    async def waits(_):
        await asyncio.sleep(60)

    async with connected(waits) as (listening, connection):
        task = asyncio.ensure_future(connection.answer(call({})))
        await asyncio.sleep(0.01)
        await listening.stop()
        with pytest.raises(LostError):
            await task
        with pytest.raises(GoneError):
            await connection.answer(call({}))


@in_a_loop
async def test_a_caller_that_goes_ends_its_calls():
    ended = asyncio.Event()

    async def waits(_):
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with connected(waits) as (_, connection):
        task = asyncio.ensure_future(connection.answer(call({})))
        await asyncio.sleep(0.01)
        connection.close()
        await ended.wait()
        with pytest.raises(LostError):
            await task


@in_a_loop
async def test_nobody_else_may_connect_and_nothing_stays():
    async def echo(call):
        return dict(call.inputs)

    async with connected(echo) as (listening, _):
        folder = Path(listening.path).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


@in_a_loop
async def test_what_a_killed_replica_left_goes_when_another_starts_and_what_lives_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def echo(call):
        return dict(call.inputs)

    left = tmp_path / "trimtab-stage-killed"
    left.mkdir()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(left / "calls"))
    async with connected(echo) as (living, connection):
        assert not left.exists()
        async with connected(echo):
            assert Path(living.path).exists()
        assert "x" in await connection.answer(call({"x": np.zeros(1)}))
