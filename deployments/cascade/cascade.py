"""A cascade: the student answers every row, and the rows it is not sure of are asked of its teacher, gathered in order.

    rows -> student -> sure?  yes -> the student's answer
                              no  -> teacher, in parts, side by side -> its answer
                                     does not answer in time         -> the student's, marked, or the request fails

How sure it must be stands in the student's manifest (`optimization.artifact.cascade`), with what that comes to. An
output more, `answered_by`, says of each row who gave it. Knows no Ray: `deployments.cascade.remote_teacher` asks a
teacher that is an application of its own.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from deployments.batching.calls import Outputs
from deployments.batching.waiting import Inputs
from deployments.errors import RequestError, UnavailableError
from deployments.execution.awaiting import together
from deployments.execution.predicting import Predicting
from deployments.execution.prediction import Prediction
from deployments.execution.predictor import Predictor
from deployments.oip.tensors import Array
from deployments.oip.urgency import Urgency
from deployments.scatter.part import LostError, UnansweredError
from optimization.artifact.cascade import Cascade
from optimization.artifact.manifest import Manifest, TensorSpec
from optimization.artifact.store import ArtifactError
from telemetry import conventions
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.trace import Asked

logger = logging.getLogger(__name__)

ANSWERED_BY = "answered_by"
"""Name of the output that says who gave a row."""
STUDENT, TEACHER = b"student", b"teacher"
UNSURE_STUDENT = b"unsure_student"
"""The student, which was not sure, since its teacher did not answer."""
PART_ROWS = 64
"""Rows that the teacher is asked for at a time: so its replicas share them."""
REST_S = 5.0
"""A teacher that has gone or is too slow is not asked for so long: requests need not all wait for it."""
KEPT_BACK = 0.1
"""Share of a request's time that is left to answer it without the teacher."""

_USUAL = Urgency()


class Teacher(Protocol):
    """Who answers what the student is not sure of."""

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""

    async def answer(self, inputs: Inputs, urgency: Urgency) -> Outputs:
        """Outputs for these rows.

        Raises:
            UnansweredError: it refuses, or has gone.
            RequestError: it cannot answer them, or not in their time.
        """

    async def stop(self) -> None:
        """Let go of it."""


class LocalTeacher:
    """A teacher in this process, which reports by an `emitter` of its own; `released` is called at its end."""

    def __init__(self, predictor: Predicting, emitter: Emitter, released: Callable[[], None]) -> None:
        self._predictor = predictor
        self._emitter = emitter
        self._released = released

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""
        self._predictor.start()
        self._emitter.start()

    async def answer(self, inputs: Inputs, urgency: Urgency) -> Outputs:
        """Outputs for these rows.

        Raises:
            UnansweredError: it fails.
            RequestError: it cannot answer them, or not in their time.
        """
        try:
            with Asked("ask the teacher"):
                return await self._predictor.predict(inputs, urgency)
        except RequestError:
            raise
        except Exception as error:
            logger.exception("the teacher in this process failed")
            raise UnansweredError(f"it failed: {type(error).__name__}") from error

    async def stop(self) -> None:
        """Let go of the model and its files."""
        await self._predictor.stop()
        self._released()
        await asyncio.to_thread(self._emitter.shutdown)


def calibrated(manifest: Manifest, teacher: str) -> Cascade:
    """When that version of the student is sure, if it was measured with `teacher`.

    Raises:
        ArtifactError: it was not, or with another.
    """
    found, name = manifest.cascade, f"artifact {manifest.name!r} version {manifest.version}"
    if found is None:
        raise ArtifactError(
            f"{name} must say when it is sure to be served as a cascade: python -m optimization cascade STUDENT TEACHER"
        )
    if found.teacher.rpartition("/")[0] != teacher:
        raise ArtifactError(
            f"cascade.teacher must be that which {name} was measured with, {found.teacher}: {teacher!r}"
        )
    if any(spec.name == ANSWERED_BY for spec in manifest.outputs):
        raise ArtifactError(f"{name} must have no output {ANSWERED_BY!r} of its own to be served as a cascade")
    return found


class CascadePredictor:
    """As a predictor, of the student's inputs and outputs and `answered_by`; belongs to one event loop."""

    def __init__(
        self,
        student: Predictor,
        teacher: Teacher,
        found: Cascade,
        *,
        timeout_s: float,
        without_teacher: Literal["student", "fail"],
        emitter: Emitter,
    ) -> None:
        """`found` says when the student is sure; the teacher has `timeout_s`.

        Raises:
            ArtifactError: the student does not answer row by row.
        """
        manifest = student.manifest
        if not student.limits.is_batched:
            raise ArtifactError(f"artifact {manifest.name!r} must answer row by row to be served as a cascade")
        first = manifest.outputs[0]
        said = TensorSpec(name=ANSWERED_BY, datatype="BYTES", shape=(first.shape[0],))
        self.manifest = manifest.model_copy(update={"outputs": (*manifest.outputs, said)})
        self.limits = student.limits
        self.is_inline = False  # a client may leave while the teacher is asked
        self.keeps_answers = student.keeps_answers  # and only those
        self.statistics = student.statistics  # it gets every request
        self.student = student
        self._teacher = teacher
        self._found = found
        self._first = first.name
        self._timeout_s = timeout_s
        self._fails = without_teacher == "fail"
        self._rests_until_s = float("-inf")
        self._version: Attributes = ((conventions.MODEL_VERSION, manifest.version),)
        self._rows = emitter.counter(conventions.CASCADE_ROWS)
        self._durations = emitter.histogram(conventions.TEACHER_DURATION)
        emitter.gauge(conventions.CASCADE_EXPECTED).set(found.held_out.sent.value, self._version)

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""
        self._teacher.start()
        self.student.start()

    async def stop(self) -> None:
        """Finish what is under way, refuse what waits and let go of both."""
        await self.student.stop()
        await self._teacher.stop()

    def admit(self) -> None:
        """Refuse early what the student would refuse.

        Raises:
            OverloadedError: as many requests wait as may.
            UnavailableError: it does not run.
        """
        self.student.admit()

    def problem(self) -> str | None:
        """Why the student cannot answer at the moment, if so."""
        return self.student.problem()

    async def predict(self, tensors: Mapping[str, Array], urgency: Urgency = _USUAL) -> dict[str, Array]:
        """Outputs by name, each row's from one of the two.

        Raises:
            RequestError: as the student does.
            UnavailableError: the teacher did not answer, where the settings say that the request then fails.
        """
        return (await self.timed(tensors, urgency)).outputs

    async def timed(self, tensors: Mapping[str, Array], urgency: Urgency = _USUAL) -> Prediction:
        """The same, with what became of the request on its way."""
        began_s = time.monotonic()
        prediction = await self.student.timed(tensors, urgency)
        sure = self._found.sure(prediction.outputs[self._first])
        unsure = np.flatnonzero(~sure)
        who = np.full(len(sure), STUDENT, object)
        self._count(STUDENT, len(sure) - len(unsure))
        if not len(unsure):
            return replace(prediction, outputs=prediction.outputs | {ANSWERED_BY: who})
        left_s = None if urgency.timeout_s is None else urgency.timeout_s - (time.monotonic() - began_s)
        parts = [unsure[begin : begin + PART_ROWS] for begin in range(0, len(unsure), PART_ROWS)]
        asked = [self._ask(tensors, rows, replace(urgency, timeout_s=left_s), prediction.outputs) for rows in parts]
        outputs = {name: array.copy() for name, array in prediction.outputs.items()}
        for rows, answer in zip(parts, await together(asked), strict=True):
            who[rows] = UNSURE_STUDENT if answer is None else TEACHER
            self._count(UNSURE_STUDENT if answer is None else TEACHER, len(rows))
            for name, array in (answer or {}).items():
                outputs[name][rows] = array
        return replace(prediction, outputs=outputs | {ANSWERED_BY: who}, ended_ns=time.time_ns(), is_cached=False)

    async def _ask(self, tensors: Inputs, rows: NDArray[np.int64], urgency: Urgency, like: Outputs) -> Outputs | None:
        """The teacher's outputs for those rows, which fit those of the student; none where the student's must do.

        Raises:
            UnavailableError: there are none, and the settings say that the request then fails.
        """
        began_s, failed = time.perf_counter(), ""
        try:
            return await self._answered(tensors, rows, urgency, like)
        except (UnansweredError, RequestError) as error:
            failed = type(error).__name__
            if self._fails:
                reason = f"the teacher {self._found.teacher} did not answer {len(rows)} rows that are for it: {error}"
                raise UnavailableError(f"{reason}; send the request again") from error
            return None
        finally:
            error_type: Attributes = ((conventions.ERROR_TYPE, failed),) if failed else ()
            self._durations.record(time.perf_counter() - began_s, (*self._version, *error_type))

    async def _answered(self, tensors: Inputs, rows: NDArray[np.int64], urgency: Urgency, like: Outputs) -> Outputs:
        if time.monotonic() < self._rests_until_s:
            raise UnansweredError(f"it did not answer a moment ago, and is left alone for {REST_S:g} s")
        limit_s = self._timeout_s
        if urgency.timeout_s is not None:
            limit_s = min(limit_s, urgency.timeout_s * (1.0 if self._fails else 1 - KEPT_BACK))
        try:
            async with asyncio.timeout(limit_s):
                outputs = await self._teacher.answer(
                    {name: array[rows] for name, array in tensors.items()}, replace(urgency, timeout_s=limit_s)
                )
        except TimeoutError as error:
            if limit_s == self._timeout_s:  # else it was the client's time that was short
                self._rest(f"it took more than {limit_s:g} s")
            raise UnansweredError(f"it took more than {limit_s:g} s") from error
        except LostError as error:
            self._rest(str(error))
            raise
        for name, array in like.items():
            got = outputs.get(name)
            if got is None or got.dtype != array.dtype or got.shape != (len(rows), *array.shape[1:]):
                raise UnansweredError(f"its output {name!r} does not fit the student's")
        return {name: outputs[name] for name in like}

    def _rest(self, reason: str) -> None:
        self._rests_until_s = time.monotonic() + REST_S
        logger.warning("the teacher %s is left alone for %g s: %s", self._found.teacher, REST_S, reason)

    def _count(self, who: bytes, num_rows: int) -> None:
        if num_rows:
            self._rows.add(num_rows, (*self._version, (conventions.ANSWERED_BY, who.decode())))
