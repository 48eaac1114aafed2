"""What a client of a replica meets while another version is rolled out: the real model, HTTP and gRPC's messages."""

import asyncio
import json
import time

import numpy as np
import orjson
import pytest

from deployments.execution.byte_budget import ByteBudget
from deployments.execution.load import load_predictor
from deployments.http.asgi import JSON, Answer, Call, ParsedBody, call
from deployments.http.model import ModelApp
from deployments.oip import inference_pb2 as oip
from deployments.rollout import canary as module
from deployments.rollout.answered import CLASS, Seen
from deployments.rollout.canary import Canary, CandidateGoneError, Told
from deployments.rollout.candidate import CandidateAnswers
from deployments.rollout.counting import Counting
from deployments.rollout.evidence import Paired
from deployments.rollout.kinds import SLICE, kinds_of
from deployments.rollout.split import KEY, Split, key_of_body, position
from deployments.rollout.witness import Witness
from deployments.settings import ModelSettings
from optimization.artifact.store import load
from telemetry.emitting.emitter import Emitter
from tests.conftest import publish_tiny

PREFIX = "/v2/models/tiny"
BODY = json.dumps(
    {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
).encode()
MAX_BODY_BYTES = 2**20


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


def model(path, witness):
    emitter = Emitter(service="tiny", version="1", role="replica", instance="a", endpoint="none")
    predictor = load_predictor(load(path), ModelSettings(artifact="tiny"), has_gpu=False, emitter=emitter)
    return ModelApp(predictor, max_body_bytes=MAX_BODY_BYTES, emitter=emitter, witness=witness)


class Pair:
    """Two versions, the second of which may fail in any way."""

    def __init__(self, root, share, copies_per_s=1e-9):
        first, second = publish_tiny(root), publish_tiny(root)
        self.clock = Clock()
        self.witnesses = Witness(), Witness()
        self.counting = Counting("baseline", "p", 1.0, self.clock)
        self.candidate_counting = Counting("candidate", "q", 1.0, self.clock)
        for witness, counting in zip(self.witnesses, (self.counting, self.candidate_counting), strict=True):
            witness.watch(counting.see, counting.teacher_compared)
        self.baseline, candidate = model(first.path, self.witnesses[0]), model(second.path, self.witnesses[1])
        self.apps = self.baseline, candidate
        self.answers = CandidateAnswers(candidate, PREFIX, self.candidate_counting)
        self.ask = self.answers.answer
        split = Split(rollout="r", candidate="c", share=share, timeout_s=0.2, window_s=1.0, copies_per_s=copies_per_s)
        budget = ByteBudget(2**30)
        self.canary = Canary(
            split, lambda request, wants: self.ask(request, wants), self.counting, MAX_BODY_BYTES, budget
        )
        self.budget = budget

    async def _asked(self, request, wants_rows):
        return await self.ask(request, wants_rows)

    async def __aenter__(self):
        for each in self.apps:
            each.start()
        return self

    async def __aexit__(self, *_):
        self.canary.stop()
        for each in self.apps:
            await each.stop()

    async def infer(self, headers=(), body=BODY, path="/infer", parsed=None):
        async def app(scope, receive, send):
            await self.canary.answer(self.baseline, scope, receive, send)

        given = (*headers, (b"content-length", str(len(body)).encode())) if parsed is None else headers
        return await call(app, Call(method="POST", path=PREFIX + path, headers=given, body=body, parsed=parsed), PREFIX)

    async def copied(self):
        await asyncio.gather(*self.canary._copies)

    def seen(self):
        self.clock.now_s += 1.0
        (told,) = self.counting.over()[-1:]
        return told


def version(answer):
    assert answer.status == 200, answer.body
    return orjson.loads(answer.body)["model_version"]


def run(doing):
    return asyncio.run(doing())


def test_a_client_stays_with_its_version(tmp_path):
    async def doing():
        async with Pair(tmp_path, share=0.5) as pair:
            for number in range(40):
                key = b"client-%d" % number
                answers = {version(await pair.infer([(KEY, key)])) for _ in range(3)}
                assert answers == {"2" if position(key) < 0.5 else "1"}

    run(doing)


def test_the_share_of_clients_grows_and_keeps_those_it_had():
    keys = [b"client-%d" % number for number in range(20_000)]
    splits = [
        Split(rollout="r", candidate="c", share=share, timeout_s=1, window_s=1, copies_per_s=1) for share in (0.01, 0.1)
    ]
    small, large = ({key for key in keys if split.takes(key)} for split in splits)
    assert small < large
    assert 0.008 < len(small) / len(keys) < 0.012
    assert 0.095 < len(large) / len(keys) < 0.105


def test_the_same_request_is_sticky_by_grpc(tmp_path):
    async def doing():
        async with Pair(tmp_path, share=0.5) as pair:
            for number in range(20):
                request = oip.ModelInferRequest(model_name="tiny", id=f"request-{number}")
                tensor = request.inputs.add(name="features", datatype="FP32", shape=[1, 4])
                tensor.contents.fp32_contents.extend([1, 2, 3, 4])
                answer = await pair.infer(parsed=ParsedBody(message=request, size_bytes=100), body=b"")
                expected = "2" if position(request.id.encode()) < 0.5 else "1"
                assert answer.message.model_version == expected

    run(doing)


@pytest.mark.parametrize("has_length", [False, True])
def test_the_id_of_a_json_body_is_sticky_unless_a_header_is_given(tmp_path, has_length):
    async def doing():
        async with Pair(tmp_path, share=0.5) as pair:
            for number in range(20):
                body = json.dumps({"id": f"request-{number}", **json.loads(BODY)}).encode()
                length = [(b"inference-header-content-length", str(len(body)).encode())] if has_length else []
                expected = "2" if position(b"request-%d" % number) < 0.5 else "1"
                assert version(await pair.infer(length, body=body)) == expected
                key = b"client-%d" % number
                assert version(await pair.infer([(KEY, key)], body=body)) == ("2" if position(key) < 0.5 else "1")
            assert pair.budget.share == 0

    run(doing)


@pytest.mark.parametrize(
    "body", [b'{"id": ""}', b'{"id": 3}', b'["id"]', b'{"id"', b'{"parameters": {"id": "a"}}', b""]
)
def test_a_body_without_an_id_has_no_key(body):
    assert key_of_body(body, ()) is None
    assert key_of_body(b'{"id": "a"}', [(b"content-encoding", b"gzip")]) is None


async def _fails(request, wants_rows):
    return Told(answer=Answer(status=500, headers=JSON, body=b"{}"))


async def _is_gone(request, wants_rows):
    raise CandidateGoneError("it died")


async def _hangs(request, wants_rows):
    await asyncio.sleep(60)


async def _refuses(request, wants_rows):
    return Told(answer=Answer(status=400, headers=JSON, body=b"{}"))


@pytest.mark.parametrize("ask", [_fails, _is_gone, _hangs, _refuses])
def test_the_baseline_answers_what_the_candidate_does_not(tmp_path, monkeypatch, ask):
    monkeypatch.setattr(module, "REST_S", 0.0)

    async def doing():
        async with Pair(tmp_path, share=1.0) as pair:
            pair.ask = ask
            assert version(await pair.infer()) == "1"
            request = oip.ModelInferRequest(model_name="tiny")
            request.inputs.add(name="features", datatype="FP32", shape=[1, 4]).contents.fp32_contents.extend([1] * 4)
            answer = await pair.infer(parsed=ParsedBody(message=request, size_bytes=100), body=b"")
            assert answer.message.model_version == "1"
            seen = pair.seen()
            assert (seen.candidate.requests, seen.candidate.errors) == (2, 2)
            assert (seen.baseline.requests, seen.baseline.errors) == (0, 0), "what it made good is not its own"

    run(doing)


def test_a_candidate_that_hangs_is_left_alone_for_a_while(tmp_path):
    async def doing():
        async with Pair(tmp_path, share=1.0) as pair:
            pair.ask = _hangs
            began_s = time.monotonic()
            assert {version(await pair.infer()) for _ in range(20)} == {"1"}
            assert time.monotonic() - began_s < 10 * pair.canary.split.timeout_s
            assert pair.seen().candidate.requests == 1

    run(doing)


def test_a_candidate_of_a_slow_model_has_the_time_that_the_baseline_takes(tmp_path):
    async def slow(request, wants_rows):
        await asyncio.sleep(0.3)
        return Told(answer=Answer(status=200, headers=JSON, body=b'{"model_version": "2"}'))

    async def doing():
        async with Pair(tmp_path, share=1.0) as pair:
            pair.ask = slow
            pair.canary._longest_s = 10.0
            assert pair.canary.split.timeout_s < 0.3
            assert version(await pair.infer()) == "2"

    run(doing)


def test_a_client_in_a_hurry_speaks_against_nobody(tmp_path):
    async def doing():
        async with Pair(tmp_path, share=1.0) as pair:
            pair.ask, pair.canary._longest_s = _hangs, 60.0
            assert version(await pair.infer([(b"x-request-timeout-seconds", b"1")])) == "1"
            assert pair.seen().candidate.requests == 0

    run(doing)


def test_a_request_that_both_refuse_is_nobodys_failure(tmp_path):
    async def doing():
        async with Pair(tmp_path, share=1.0) as pair:
            answer = await pair.infer(body=b"no json")
            assert answer.status == 400
            seen = pair.seen()
            assert (seen.candidate.requests, seen.candidate.errors) == (1, 0)

    run(doing)


@pytest.mark.parametrize("headers", [(), ((b"x-request-timeout-seconds", b"soon"),)])
def test_a_body_that_is_too_large_and_a_time_that_is_none_are_refused_as_ever(tmp_path, headers):
    async def doing():
        async with Pair(tmp_path, share=1.0) as pair:
            large = b" " * (MAX_BODY_BYTES + 1)
            answer = await pair.infer(headers, body=BODY if headers else large)
            assert answer.status == (400 if headers else 413)
            assert pair.budget.share == 0

    run(doing)


def test_copies_reach_no_client_and_are_compared(tmp_path):
    async def doing():
        async with Pair(tmp_path, share=0.0, copies_per_s=1e9) as pair:
            for _ in range(5):
                assert version(await pair.infer()) == "1"
                await pair.copied()
            pair.ask = _fails
            assert version(await pair.infer()) == "1"
            await pair.copied()
            seen = pair.seen()
            assert (seen.candidate.requests, seen.candidate.errors) == (6, 1)
            assert (seen.paired.rows, seen.paired.same) == (5, 5)
            assert (seen.baseline.requests, seen.baseline.checked, seen.baseline.told) == (6, 6, 1)
            assert sum(seen.baseline.durations.values()) == 6
            (theirs,) = pair.candidate_counting.over()[-1:]
            assert (sum(theirs.candidate.durations.values()), theirs.candidate.checked) == (5, 5)

    run(doing)


@pytest.mark.parametrize("is_there", [True, False])
def test_only_rows_that_both_answer_otherwise_are_judged_by_the_teacher(tmp_path, is_there):
    asked = []

    async def judge(rows):
        asked.append(rows["features"].tolist())
        return np.array([0]) if is_there else None

    async def told(request, wants_rows):
        classes = next(answers)
        return Told(answer=Answer(status=200, headers=(), body=b""), rows={CLASS: np.array(classes)})

    answers = iter([[0, 0], [0, 1]])
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)

    async def doing():
        async with Pair(tmp_path, share=0.0) as pair:
            pair.ask = told
            seen = Seen(rows={CLASS: np.array([0, 0])}, inputs={"features": rows}, judge=judge)
            for _ in range(2):
                await pair.canary._compare(Call(method="POST", path=PREFIX), seen, ())
                await asyncio.gather(*pair.canary._judging)
            assert asked == [rows[1:].tolist()]
            lost = {"judged": 1, "only_baseline": 1} if is_there else {"missed": 2}
            assert pair.seen().paired == Paired(rows=4, same=3, **lost)

    run(doing)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_requests_are_counted_by_their_size_and_by_what_their_client_calls_them(tmp_path, share):
    async def doing():
        async with Pair(tmp_path, share=share) as pair:
            length = (b"content-length", str(len(BODY)).encode())
            await pair.infer([(SLICE, b"country=de, app=phone,"), length])
            await pair.infer([length])
            arm = pair.seen().candidate if share else pair.seen().baseline
            assert {name: each.requests for name, each in arm.slices.items()} == {
                "country=de": 1,
                "app=phone": 1,
                "up to 1 KiB": 2,
            }

    run(doing)


def test_a_size_is_told_in_steps_and_names_are_few_and_short():
    def size(num_bytes):
        return kinds_of([(b"content-length", b"%d" % num_bytes)], None)

    assert [size(each) for each in (0, 1024, 1025, 4097)] == [
        ("up to 1 KiB",),
        ("up to 1 KiB",),
        ("up to 4 KiB",),
        ("up to 16 KiB",),
    ]
    assert size(10**12) == size(10**15)
    assert kinds_of([(SLICE, b",".join([b"%02d" % each * 50 for each in range(9)]))], None) == tuple(
        f"{each:02d}" * 20 for each in range(4)
    )


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.1, 8 / 9), (0.5, 0.1), (1.0, 0.1)])
def test_copies_do_not_make_the_candidate_the_busier_one(tmp_path, share, expected):
    assert Pair(tmp_path, share=share).canary._copied_share == pytest.approx(expected)


def test_other_paths_are_not_shared(tmp_path):
    async def doing():
        async with Pair(tmp_path, share=1.0) as pair:
            pair.ask = _fails

            async def app(scope, receive, send):
                await pair.canary.answer(pair.baseline, scope, receive, send)

            answer = await call(app, Call(method="GET", path=f"{PREFIX}/ready"), PREFIX)
            assert answer.status == 200
            assert pair.seen().candidate.requests == 0

    run(doing)
