"""A sample of the requests goes to the teacher as well, after they are answered: how often both agree is a live
accuracy that needs no labels.

    request answered -> by chance, and as the rate allows -> teacher, after all others' requests -> agreed? counted

Nothing waits for it: a teacher that is slow or gone costs samples, never an answer.
"""

import asyncio
import logging
import random
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deployments.cascade.cascade import Teacher
from deployments.errors import RequestError
from deployments.monitoring.answers import classes, is_classifier
from deployments.monitoring.sampling import ROWS_OF_REQUEST, RowRate
from deployments.oip.tensors import Array
from deployments.oip.urgency import BELOW_ALL, Urgency
from deployments.rollout.witness import Witness
from deployments.scatter.part import UnansweredError
from deployments.settings import ShadowSettings
from optimization.artifact.manifest import Manifest
from optimization.artifact.reference.reference import Fidelity
from optimization.artifact.store import ArtifactError
from telemetry import conventions
from telemetry.emitting.emitter import Emitter

logger = logging.getLogger(__name__)

TIMEOUT_S = 5.0
"""Longest that the teacher is waited for."""
REST_S = 10.0
"""A teacher that did not answer is left alone for so long."""
MOST_ASKED = 2
"""Samples that the teacher has at a time; while it has them, no others are taken."""


def fidelity_of(manifest: Manifest, teacher: str) -> tuple[Fidelity, str]:
    """What the manifest says of the agreement with `teacher`, and the teacher's version.

    Raises:
        ArtifactError: it says nothing of that teacher, or the model tells no classes.
    """
    artifact = f"artifact {manifest.name!r} version {manifest.version}"
    if not is_classifier(manifest):
        raise ArtifactError(f"{artifact} must be a classifier to be shadowed: its answers are compared by class")
    found = manifest.fidelity
    name, _, version = (found.teacher or "").rpartition("/") if found else ("", "", "")
    if found is None or name != teacher:
        got = found.teacher if found else None
        raise ArtifactError(
            f"shadow.teacher must be the one whose agreement with {artifact} was measured, {got}: got {teacher!r}; "
            "a recipe with teacher.publish measures it"
        )
    return found, version


class Shadow:
    """Asks the teacher, and counts; belongs to one event loop."""

    def __init__(
        self,
        manifest: Manifest,
        settings: ShadowSettings,
        expected: Fidelity,
        teacher: Teacher,
        emitter: Emitter,
        witness: Witness | None = None,
    ) -> None:
        self._manifest = manifest
        self._witness = witness or Witness()
        self._share = settings.share
        self._rate = RowRate(settings.max_per_s)
        self._judge_rate = RowRate(settings.max_per_s)
        self._judging = asyncio.Lock()
        self._teacher = teacher
        self._rests_until_s = float("-inf")
        self._asked: set[asyncio.Task[None]] = set()
        self._compared = emitter.bin_counts(conventions.FIDELITY_ROWS)
        self._rows = emitter.counter(conventions.SHADOW_ROWS)
        self._version = ((conventions.MODEL_VERSION, manifest.version),)
        self._attributes = (
            *self._version,
            (conventions.REFERENCE_COUNTS, f"{expected.num_agreed},{expected.num_rows - expected.num_agreed}"),
        )
        self._compared.add((0.5,), (0, 0), self._attributes)

    def start(self) -> None:
        """Begin to take samples; needs a running event loop."""
        self._teacher.start()

    async def stop(self) -> None:
        """Let go of the teacher and of what it was asked."""
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        await self._teacher.stop()

    def see(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """A request was answered: perhaps its first rows are a sample."""
        if random.random() >= self._share or not self._rate.is_open() or len(self._asked) >= MOST_ASKED:
            return
        if time.monotonic() < self._rests_until_s:
            return
        num_rows = min(ROWS_OF_REQUEST, len(next(iter(inputs.values()))))
        self._rate.took(num_rows)
        rows = {name: array[:num_rows].copy() for name, array in inputs.items()}
        ours = classes(self._manifest, {name: array[:num_rows] for name, array in outputs.items()})
        task = asyncio.create_task(self._ask(rows, ours))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def judge(self, rows: Mapping[str, Array]) -> NDArray[np.int64] | None:
        """The teacher's classes of rows that two versions answered otherwise, as soon as the rate allows; none where it
        does not answer. They are no sample: they count for nothing but that comparison.
        """
        async with self._judging:
            if time.monotonic() < self._rests_until_s:
                return None
            await asyncio.sleep(self._judge_rate.left_s())
            self._judge_rate.took(len(next(iter(rows.values()))))
        return await self._answered(rows)

    async def _ask(self, rows: Mapping[str, Array], ours: NDArray[np.int64]) -> None:
        theirs = await self._answered(rows)
        if theirs is None:
            return
        agreed = int((ours == theirs).sum())
        if self._witness.teacher_compared is not None:
            self._witness.teacher_compared(len(ours), agreed)
        self._compared.add((0.5,), (agreed, len(ours) - agreed), self._attributes)

    async def _answered(self, rows: Mapping[str, Array]) -> NDArray[np.int64] | None:
        """The teacher's classes; none where it does not answer, and is then left alone."""
        num_rows = len(next(iter(rows.values())))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._teacher.answer(dict(rows), Urgency(timeout_s=TIMEOUT_S, priority=BELOW_ALL))
            theirs = classes(self._manifest, answer)
        except (TimeoutError, UnansweredError, RequestError, KeyError, IndexError) as error:
            self._rests_until_s = time.monotonic() + REST_S
            self._rows.add(num_rows, (*self._version, (conventions.ERROR_TYPE, type(error).__name__)))
            logger.warning("the teacher did not answer a sample, and is left alone for %g s: %s", REST_S, error)
            return None
        self._rows.add(num_rows, self._version)
        return theirs
