"""Asks one stage: the replica of it that has the least to do, and another once where that one goes.

Where none is left the request waits for the next, as a model's does at the ingress while its only replica is replaced.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from deployments.errors import OverloadedError, UnavailableError
from deployments.scatter.part import GoneError, LostError, Refusal
from deployments.stages.stage_call import Failure, Missing, StageCall, StageReplica, Tensor
from telemetry import conventions
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.trace import Asked

REST_S = 5.0
"""A replica that went while it had a call is asked last for so long: it may only have been slow to say that it goes."""
AWAITED_S = 30.0
"""How long a request waits for a replica where none is left; its deadline may end it sooner."""
_LOOK_EVERY_S = 0.05


class InputsGoneError(Exception):
    """What an earlier stage gave is in shared memory no more."""

    def __init__(self, inputs: tuple[str, ...]) -> None:
        super().__init__(", ".join(inputs))
        self.inputs = inputs


class VersionGoneError(Exception):
    """No replica holds the version that was asked for: the others of its artifact have moved on."""


class AskedStage:
    """One stage, as a process that takes requests asks it; belongs to one event loop."""

    def __init__(
        self,
        name: str,
        replicas: Callable[[], Sequence[StageReplica]],
        look: Callable[[], Awaitable[None]],
        *,
        is_remote: bool,
        emitter: Emitter,
        awaited_s: float = AWAITED_S,
    ) -> None:
        """`replicas` are those known, `look` looks for others; `is_remote` where they are other processes, which may be
        replaced."""
        self.name = name
        self.is_remote = is_remote
        self._replicas = replicas
        self._look = look
        self._outstanding: Counter[str] = Counter()
        self._rests_until_s: dict[str, float] = {}
        self._durations = emitter.histogram(conventions.STAGE_DURATION)
        self._awaited_s = awaited_s if is_remote else 0.0

    async def ask(self, call: StageCall) -> dict[str, Tensor]:
        """Its outputs.

        Raises:
            RequestError: the request cannot be answered, or not in its time; or nobody is there to do so.
            InputsGoneError, VersionGoneError: it must be asked in another way.
            StageFailedError: it raised what is no fault of the request's.
        """
        tried: set[str] = set()
        refusals: list[Refusal] = []
        lost: LostError | None = None
        while (replica := self._next(tried) if refusals else await self._awaited(tried)) is not None:
            tried.add(replica.name)
            began_s, asked = time.perf_counter(), Asked(f"ask {self.name}")
            self._outstanding[replica.name] += 1
            outcome = "CancelledError"
            try:
                answer = await replica.answer(replace(call, trace=asked.passed))
                outcome = answer.kind if isinstance(answer, Failure) else type(answer).__name__
            except (LostError, GoneError) as error:
                outcome = type(error).__name__
                self._rests_until_s[replica.name] = time.monotonic() + REST_S
                if isinstance(error, LostError):
                    if lost is not None:
                        raise UnavailableError(
                            f"two replicas of stage {self.name!r} went while they had the request: send it again"
                        ) from error
                    lost = error
                await self._look()
                continue
            finally:
                self._outstanding[replica.name] -= 1
                if not self._outstanding[replica.name]:
                    del self._outstanding[replica.name]  # else replicas that have gone would stay for ever
                self._count(time.perf_counter() - began_s, outcome)
                asked.ended(((conventions.STAGE, self.name),), None if outcome == "dict" else outcome)
            match answer:
                case Refusal():
                    refusals.append(answer)
                case Failure():
                    raise answer.error(self.name)
                case Missing():
                    raise InputsGoneError(answer.inputs)
                case _:
                    return answer
        raise self._unanswered(refusals) from lost

    async def _awaited(self, tried: set[str]) -> StageReplica | None:
        """The next replica, waited for where there is none; `look` is called meanwhile by whoever keeps them known."""
        until_s = time.monotonic() + self._awaited_s
        while (replica := self._next(tried)) is None and time.monotonic() < until_s:
            await asyncio.sleep(_LOOK_EVERY_S)
        return replica

    def _next(self, tried: set[str]) -> StageReplica | None:
        """The replica with the fewest calls under way of those that were not asked yet."""
        now_s = time.monotonic()
        self._rests_until_s = {name: until_s for name, until_s in self._rests_until_s.items() if until_s > now_s}
        left = [replica for replica in self._replicas() if replica.name not in tried]
        if len(left) < 2:
            return left[0] if left else None
        return min(
            left, key=lambda each: (each.name in self._rests_until_s, self._outstanding[each.name], random.random())
        )

    def _unanswered(self, refusals: Sequence[Refusal]) -> Exception:
        busy = [refusal.retry_after_s for refusal in refusals if refusal.retry_after_s]
        if busy:
            return OverloadedError(f"stage {self.name!r} has no room: {refusals[-1].reason}", retry_after_s=min(busy))
        if refusals:
            return VersionGoneError(f"stage {self.name!r}: {refusals[-1].reason}")
        return UnavailableError(f"stage {self.name!r} has no replica that answers: send the request again")

    def _count(self, seconds: float, outcome: str) -> None:
        stage = (conventions.STAGE, self.name)
        failed = () if outcome == "dict" else ((conventions.ERROR_TYPE, outcome),)
        self._durations.record(seconds, (stage, *failed))
