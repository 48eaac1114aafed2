"""A request at a replica of the baseline, while another version is rolled out.

    request ─▶ split ─┬▶ baseline ─▶ client             at times a copy ─▶ candidate ─▶ compared
                      └▶ candidate ─▶ client
                            └ failed, gone, late, or refuses it ─▶ baseline ─▶ client

So a client meets no failure that the baseline alone would have spared it.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import OverloadedError, RequestError
from deployments.execution.byte_budget import ByteBudget
from deployments.http.asgi import (
    JSON,
    MESSAGE,
    Answer,
    Call,
    ClientGone,
    error_body,
    header,
    parsed_body,
    read_body,
    respond,
)
from deployments.monitoring.sampling import RowRate
from deployments.oip.urgency import TIMEOUT, seconds_left
from deployments.rollout.answered import Judge, Rows, Seen, alike
from deployments.rollout.copied import Copied, call_of
from deployments.rollout.counting import Counting, wanted
from deployments.rollout.kinds import kinds_of
from deployments.rollout.split import Split, key_of, key_of_body
from deployments.rollout.timed import Noting, timed

logger = logging.getLogger(__name__)

REST_S = 1.0
"""A candidate that was gone or too late is left alone for so long."""
FORGETTING = 0.99
"""What the longest time that the baseline took still counts, with each further request."""
MOST_COPIES = 4
"""Copies that the candidate has of a replica at a time; while it has them, no others are made."""
MOST_JUDGED = 16
"""Copies whose answers wait for the teacher at a time; while it has them, others are not asked of it."""
FEWEST_COPIED = 0.1
"""Share of the baseline's requests that may be copied where the candidate has as many of its own."""
_TRIED = ("/infer", "/generate")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the candidate answered."""

    answer: Answer
    rows: Rows | None = None
    """Of its outputs, where they were asked for."""


_HURRIED = Told(answer=Answer(status=504, headers=(), body=b""))
"""In place of an answer that did not come in half the time that the client gave: that is nobody's failure."""


class CandidateGoneError(Exception):
    """No replica of the candidate answers."""


Ask = Callable[[Call, bool], Awaitable[Told]]
"""Asks the candidate, and whether for its rows too; raises `CandidateGoneError`."""


class RolloutPart(Protocol):
    """What a replica does in rollouts, beside its requests."""

    @property
    def canary(self) -> "Canary | None":
        """What shares out requests; none while nothing is rolled out."""

    def start(self) -> None:
        """The event loop runs."""

    def stop(self) -> None:
        """The replica goes."""


class NoPart:
    """Of a replica that has none."""

    canary: "Canary | None" = None

    def start(self) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class Canary:
    """Answers requests by one split."""

    def __init__(self, split: Split, ask: Ask, counting: Counting, max_body_bytes: int, budget: ByteBudget) -> None:
        self.split = split
        self._ask = ask
        self._counting = counting
        self._max_body_bytes = max_body_bytes
        self._budget = budget
        self._copy_rate = RowRate(split.copies_per_s)
        # Asked more often than the baseline, the candidate would be the slower one by that alone.
        self._copied_share = max(FEWEST_COPIED, (1 - 2 * split.share) / max(1 - split.share, FEWEST_COPIED))
        self._copies: set[asyncio.Task[None]] = set()
        self._judging: set[asyncio.Task[None]] = set()
        self._rests_until_s = float("-inf")
        self._longest_s = 0.0

    def stop(self) -> None:
        """Let go of copies under way; requests under way are answered."""
        for task in (*self._copies, *self._judging):
            task.cancel()

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; `app` is the baseline."""
        if not scope["path"].endswith(_TRIED) or scope["method"] != "POST":
            await app(scope, receive, send)
        elif self._may_be_asked(scope) and ((key := _key(scope)) is None or self.split.takes(key)):
            await self._read(app, key, scope, receive, send)
        else:
            await self._by_baseline(app, scope, receive, send)

    async def _read(self, app: ASGIApp, key: bytes | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request's body, which says where it goes if no header does."""
        parsed = parsed_body(scope)
        try:
            body = b"" if parsed else await read_body(scope, receive, self._max_body_bytes, self._budget)
        except ClientGone:
            return
        except RequestError as problem:
            advice = (problem.retry_after,) if isinstance(problem, OverloadedError) else ()
            await respond(send, problem.status, error_body(str(problem)), (*JSON, *advice))
            return
        request = call_of(scope, body, parsed)
        if key is None and parsed is None:
            key = key_of_body(body, scope["headers"])
        if not self.split.takes(key):
            self._budget.release(len(body))  # whoever answers it reserves them anew
            await self._by_baseline(app, scope, receive if parsed else _once(body, receive), send)
            return
        try:
            told = await self._asked(request, wants_rows=False)
        finally:
            self._budget.release(len(body))
        await self._by_candidate(app, request, told, scope, receive, send)

    async def _by_candidate(
        self, app: ASGIApp, request: Call, told: Told | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send what the candidate said; where it failed, what the baseline says."""
        kinds = kinds_of(request.headers, request.parsed)
        if told is not None and told.answer.status < 400:
            self._counting.sent("candidate", has_failed=False, kinds=kinds)
            await _send(told.answer, send)
            return
        own = Noting(send)
        await app(_as_it_came(scope, request), _once(request.body, receive), own)
        # What both refuse is the request's own fault; what the candidate alone does is a failure.
        if told is not _HURRIED:
            has_failed = told is None or told.answer.status >= 500 or own.status < 400
            self._counting.sent("candidate", has_failed=has_failed, kinds=kinds)

    async def _by_baseline(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        copied = self._copied(scope)
        seen: list[Seen] = []
        before = wanted.set(seen) if copied else None
        try:
            seconds, status = await timed(app, scope, copied.receive(receive) if copied else receive, send)
        finally:
            if before is not None:
                wanted.reset(before)
        if status is None:
            return  # the client is gone
        self._longest_s = max(seconds, FORGETTING * self._longest_s)
        kinds = kinds_of(scope["headers"], parsed_body(scope))
        self._counting.sent("baseline", has_failed=status >= 500, kinds=kinds)
        self._counting.took(seconds)
        if copied and seen and (request := copied.call()):
            self._copy_rate.took(1)
            _keep(self._copies, self._compare(request, seen[0], kinds))

    def _copied(self, scope: Scope) -> Copied | None:
        """What notes the request, where it is one that both versions are to answer."""
        if len(self._copies) >= MOST_COPIES or not self._copy_rate.is_open():
            return None
        if random.random() >= self._copied_share:
            return None
        return Copied(scope) if time.monotonic() >= self._rests_until_s else None

    async def _compare(self, request: Call, seen: Seen, kinds: Sequence[str]) -> None:
        told = await self._asked(request, wants_rows=True)
        if told is _HURRIED:
            return
        self._counting.sent("candidate", has_failed=told is None or told.answer.status >= 400, kinds=kinds)
        if told is None or told.rows is None:
            return
        if seen.judge is None:
            self._counting.pair(seen.rows, told.rows, kinds=kinds)
        elif len(self._judging) >= MOST_JUDGED:
            self._counting.pair(seen.rows, told.rows, has_teacher=True, kinds=kinds)
        else:
            _keep(self._judging, self._judge(seen, told.rows, seen.judge, kinds))

    async def _judge(self, seen: Seen, rows: Rows, judge: Judge, kinds: Sequence[str]) -> None:
        """Ask the teacher for those rows that the versions answered otherwise: of the rest it would say nothing new."""
        differ = ~alike(seen.rows, rows)
        truth: NDArray[np.int64] | None = np.empty(0, np.int64)
        if differ.any():
            truth = await judge({name: each[differ] for name, each in seen.inputs.items()})
        self._counting.pair(seen.rows, rows, truth, has_teacher=True, kinds=kinds)

    async def _asked(self, request: Call, *, wants_rows: bool) -> Told | None:
        """What the candidate says; none where it is gone or too late, `_HURRIED` where the client gives little time."""
        patience_s = max(self.split.timeout_s, 2 * self._longest_s)
        timeout_s = min(patience_s, _time_of(request) / 2)
        parsed = request.parsed and replace(request.parsed)  # each that answers takes the message for itself
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask(replace(request, parsed=parsed), wants_rows)
        except (CandidateGoneError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and timeout_s < patience_s:
                return _HURRIED
            self._rests_until_s = time.monotonic() + REST_S
            logger.warning("the candidate did not answer, the baseline does: %s", str(error) or "it is too late")
            return None

    def _may_be_asked(self, scope: Scope) -> bool:
        """Whether the candidate may get this request. What is announced as longer than may be, the baseline refuses."""
        if not self.split.share or time.monotonic() < self._rests_until_s:
            return False
        announced = header(scope, b"content-length") or ""
        return not announced.isdigit() or int(announced) <= self._max_body_bytes


def _keep(tasks: set[asyncio.Task[None]], doing: Coroutine[Any, Any, None]) -> None:
    """Do it beside the requests."""
    task = asyncio.create_task(doing)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _key(scope: Scope) -> bytes | None:
    parsed = parsed_body(scope)
    named = key_of(scope["headers"])
    return named if named or parsed is None else parsed.message.id.encode() or None


def _time_of(request: Call) -> float:
    """Seconds that the request has; what is no number whoever answers refuses."""
    given = dict(request.headers).get(TIMEOUT)
    try:
        seconds = seconds_left(given.decode("latin-1") if given else None)
    except RequestError:
        return math.inf
    return math.inf if seconds is None else seconds


def _as_it_came(scope: Scope, request: Call) -> Scope:
    return {**scope, "extensions": {MESSAGE: request.parsed}} if request.parsed else scope


def _once(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read before; then what still comes."""
    unread = iter((body,))

    async def again() -> Message:
        for whole in unread:
            return {"type": "http.request", "body": whole}
        return await receive()

    return again


async def _send(answer: Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
    if answer.message is not None:
        await send({"type": MESSAGE, "message": answer.message})
    else:
        await send({"type": "http.response.body", "body": answer.body})
