"""Requests on their way through a pipeline: real workers, predictors, functions and sockets, without Ray."""

import asyncio

import numpy as np
import pytest

from deployments.errors import DeadlineError, OverloadedError, RequestError, UnavailableError
from deployments.oip.urgency import Urgency
from deployments.stages.stage_call import StageFailedError
from tests.conftest import expected_probabilities, publish_tiny
from tests.deployments.stages import functions
from tests.deployments.stages.staged import Replica, in_a_loop, running

X = {"name": "x", "datatype": "FP32", "shape": ["batch", 4]}
Y = {"name": "y", "datatype": "FP32", "shape": ["batch", 4]}
WIDE = Y | {"shape": ["batch", "width"]}
PROBABILITIES = {"datatype": "FP32", "shape": ["batch", 3]}
ROWS = np.array([[1, 2, 3, 4], [-1, 0, 1, 0], [2, 2, 2, 2]], np.float32)


def calling(name, called, **changes):
    return {"name": name, "call": f"tests.deployments.stages.functions:{called}", "takes": [X], "gives": [Y]} | changes


def one(called, **changes):
    return {"pipeline": "p", "stages": [calling("only", called, **changes)], "outputs": {"y": "only.y"}}


@pytest.fixture
def ensemble(tmp_path):
    """Two models that are asked side by side, and the mean of what they give."""
    for name in ("first", "second"):
        publish_tiny(tmp_path, name)
    vote = {
        "name": "vote",
        "call": "deployments.stages.joins:mean",
        "takes": [{"name": "a", **PROBABILITIES}, {"name": "b", **PROBABILITIES}],
        "gives": [{"name": "mean", **PROBABILITIES}],
        "inputs": {"a": "one.probabilities", "b": "two.probabilities"},
        "own_replicas": False,
    }
    stages = [{"name": "one", "artifact": "first"}, {"name": "two", "artifact": "second", "own_replicas": False}, vote]
    return {"pipeline": "both", "artifacts": str(tmp_path), "stages": stages, "outputs": {"probabilities": "vote.mean"}}


@in_a_loop
async def test_models_are_asked_side_by_side_and_joined_by_a_function(ensemble):
    async with running(ensemble) as staged:
        outputs = await staged.predictor.predict({"features": ROWS})
        np.testing.assert_allclose(outputs["probabilities"], expected_probabilities(ROWS), rtol=1e-5)
        assert staged.predictor.manifest.labels is None
        assert [spec.name for spec in staged.predictor.manifest.inputs] == ["features"]
        assert staged.predictor.statistics.snapshot()["inference_count"] == len(ROWS)


@in_a_loop
async def test_what_one_stage_gives_the_next_is_given_whether_it_is_awaited_or_not():
    chain = {
        "pipeline": "p",
        "stages": [calling("first", "double"), calling("then", "negative", inputs={"x": "first.y"})],
        "outputs": {"y": "then.y"},
    }
    async with running(chain) as staged:
        answers = await asyncio.gather(*(staged.predictor.predict({"x": ROWS * n}) for n in range(10)))
    for number, outputs in enumerate(answers):
        np.testing.assert_array_equal(outputs["y"], -2 * ROWS * number)


BRANCHES = {
    "pipeline": "p",
    "stages": [
        calling("look", "is_positive", gives=[{"name": "yes", "datatype": "BOOL", "shape": ["batch"]}]),
        calling("twice", "double", when="look.yes"),
        calling("more", "double", when="look.yes", inputs={"x": "twice.y"}),
        calling("less", "negative", unless="look.yes", own_replicas=False),
        calling("after", "double", inputs={"x": ["more.y", "less.y"]}),
    ],
    "outputs": {"y": "after.y", "before": ["more.y", "less.y"]},
}


@pytest.mark.parametrize("signs", [[1, -1, 1], [1, 1, 1], [-1, -1, -1]])
@in_a_loop
async def test_each_row_takes_the_branch_that_its_condition_says_and_no_stage_is_asked_for_none(signs):
    rows = np.abs(ROWS) * np.array(signs, np.float32)[:, None] + np.float32(0.5) * np.array(signs, np.float32)[:, None]
    expected = np.where(rows[:, :1] > 0, 4 * rows, -rows)
    async with running(BRANCHES) as staged:
        outputs = await staged.predictor.predict({"x": rows})
        np.testing.assert_array_equal(outputs["before"], expected)
        np.testing.assert_array_equal(outputs["y"], 2 * expected)
        (twice,) = staged.replicas["twice"]
        assert len(twice.asked) == (1 if max(signs) > 0 else 0)


@in_a_loop
async def test_large_tensors_lie_in_shared_memory_and_small_ones_are_sent():
    chain = {
        "pipeline": "p",
        "stages": [
            calling("grow", "large", gives=[WIDE]),
            calling("shrink", "narrow", takes=[X | {"shape": ["batch", "width"]}], inputs={"x": "grow.y"}),
        ],
        "outputs": {"y": "shrink.y"},
    }
    async with running(chain) as staged:
        np.testing.assert_array_equal((await staged.predictor.predict({"x": ROWS}))["y"], ROWS)
        assert len(staged.memory.held) == 1
        (call,) = staged.replicas["shrink"][0].asked
        assert not isinstance(call.inputs["x"], np.ndarray)

        staged.replicas["grow"][0].after = staged.memory.lose  # as if its process had gone right after its answer
        task = asyncio.ensure_future(staged.predictor.predict({"x": ROWS}))
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError, match="went twice"):
            await task
        losing = iter([staged.memory.lose, lambda: None])
        staged.replicas["grow"][0].after = lambda: next(losing)()
        np.testing.assert_array_equal((await staged.predictor.predict({"x": ROWS}))["y"], ROWS)


@in_a_loop
async def test_a_replica_that_dies_with_a_call_is_replaced_by_another_once_and_two_are_told_of():
    async with running(one("double"), replicas=3) as staged:
        first, *others = staged.replicas["only"]
        first.dies = True
        for _ in range(6):
            np.testing.assert_array_equal((await staged.predictor.predict({"x": ROWS}))["y"], 2 * ROWS)
        assert len(first.asked) <= 1  # it rests
        for each in others:
            each.dies = True
        with pytest.raises(UnavailableError, match="two replicas of stage 'only' went"):
            await staged.predictor.predict({"x": ROWS})


@in_a_loop
async def test_a_replica_that_had_gone_before_it_was_asked_is_not_one_that_a_request_may_have_killed():
    """It is known for some seconds more; the request goes on past two of them and one that dies with it."""
    async with running(one("double"), replicas=4) as staged:
        dying, gone, long_gone, _ = staged.replicas["only"]
        dying.dies = gone.has_gone = long_gone.has_gone = True
        for _ in range(8):
            np.testing.assert_array_equal((await staged.predictor.predict({"x": ROWS}))["y"], 2 * ROWS)


@in_a_loop
async def test_a_stage_without_a_replica_that_answers_is_named():
    async with running(one("double")) as staged:
        staged.replicas["only"][0].dies = True
        with pytest.raises(UnavailableError, match="stage 'only' has no replica that answers"):
            await staged.predictor.predict({"x": ROWS})
        assert staged.looks


@in_a_loop
async def test_a_request_waits_for_the_replica_that_takes_the_place_of_the_only_one():
    async with running(one("double"), awaited_s=30) as staged:
        (dying,) = staged.replicas["only"]
        dying.dies = True
        asked = asyncio.ensure_future(staged.predictor.predict({"x": ROWS}))
        late = asyncio.ensure_future(staged.predictor.predict({"x": ROWS}, Urgency(timeout_s=0.05)))
        while not dying.asked:
            await asyncio.sleep(0)
        with pytest.raises(DeadlineError, match=r"within its 0\.05 s"):
            await late
        assert not asked.done()
        staged.replicas["only"].append(Replica("next", dying.worker, dying.connection, staged.memory))
        np.testing.assert_array_equal((await asked)["y"], 2 * ROWS)


@in_a_loop
async def test_the_deadline_holds_for_the_whole():
    args = one("waits_for_ever")
    async with running(args) as staged:
        functions.cancelled.clear()
        with pytest.raises(DeadlineError, match=r"within its 0\.05 s"):
            await staged.predictor.predict({"x": ROWS}, Urgency(timeout_s=0.05))
        while not functions.cancelled:
            await asyncio.sleep(0.001)
        (call,) = staged.replicas["only"][0].asked
        assert 0 < call.urgency.timeout_s <= 0.05


@in_a_loop
async def test_whoever_hangs_up_ends_what_is_under_way_in_every_stage():
    args = BRANCHES | {
        "stages": [calling("one", "waits_for_ever"), calling("two", "waits_for_ever")],
        "outputs": {"a": "one.y", "b": "two.y"},
    }
    async with running(args) as staged:
        functions.cancelled.clear()
        task = asyncio.ensure_future(staged.predictor.predict({"x": ROWS}))
        while not all(staged.replicas[name][0].asked for name in ("one", "two")):
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        task.cancel()
        while len(functions.cancelled) < 2:
            await asyncio.sleep(0.001)
        assert [staged.replicas[name][0].num_cancelled for name in ("one", "two")] == [1, 1]


@in_a_loop
async def test_priority_reaches_every_stage():
    async with running(one("double")) as staged:
        await staged.predictor.predict({"x": ROWS}, Urgency(priority=3))
        assert staged.replicas["only"][0].asked[0].urgency.priority == 3


@in_a_loop
async def test_a_stage_without_room_is_told_as_such_and_so_is_a_whole_pipeline():
    functions.started.clear()
    functions.release.clear()
    async with running(one("waits", settings={"max_queue_size": 1}) | {"max_queue_size": 3}) as staged:
        tasks = [asyncio.ensure_future(staged.predictor.predict({"x": ROWS}))]
        while not functions.started.is_set():
            await asyncio.sleep(0.001)
        tasks += [asyncio.ensure_future(staged.predictor.predict({"x": ROWS})) for _ in range(2)]
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(OverloadedError, match="stage 'only' has no room"):
            done.pop().result()
        tasks.append(asyncio.ensure_future(staged.predictor.predict({"x": ROWS})))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="3 requests are under way already"):
            staged.predictor.admit()
        functions.release.set()
        await asyncio.wait(waiting)


@pytest.mark.parametrize(
    ("called", "said"),
    [
        (
            "wrong_shape",
            r"stage 'only': ValueError: its output 'y' must be FP32 of \['batch', 4\], got float32 of \[3, 1\]",
        ),
        ("fails", "stage 'only': KeyError"),
        ("in_place", "read-only"),
    ],
)
@in_a_loop
async def test_what_a_function_does_wrong_is_told_of_its_stage(called, said):
    async with running(one(called)) as staged:
        with pytest.raises(StageFailedError, match=said):
            await staged.predictor.predict({"x": ROWS})


@in_a_loop
async def test_what_is_wrong_with_a_request_is_its_own_fault_and_is_asked_once(ensemble):
    async with running(ensemble, replicas=2) as staged:
        with pytest.raises(RequestError, match="batch size must be at most 4096"):
            await staged.predictor.predict({"features": np.zeros((5000, 4), np.float32)})
        assert sum(len(replica.asked) for replica in staged.replicas["one"]) <= 1


@in_a_loop
async def test_rows_of_several_requests_share_a_call_of_a_function_only_where_that_is_asked_for():
    alone, together = one("double"), one("double", settings={"max_batch_size": 8})
    async with running(alone) as one_by_one, running(together) as batched:
        for staged in (one_by_one, batched):
            await asyncio.gather(*(staged.predictor.predict({"x": ROWS[:1]}) for _ in range(20)))
        calls = [
            staged.replicas["only"][0].worker.versions.answering.app.predictor.statistics.snapshot()["execution_count"]
            for staged in (one_by_one, batched)
        ]
    assert calls[0] == 20
    assert calls[1] < 20
