"""Chunks spread over a Ray cluster by Ray Data: a process for each CPU, behind whatever else runs there.

Ray Data may lose the order of what it maps, and runs again what a dead process has begun. Chunks are numbered and
written whole, so neither matters.
"""

import json
import logging
import os
from collections.abc import Generator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from deployments.collector import collector_url
from deployments.errors import ScoringError
from deployments.offline.output import Done
from deployments.offline.rows import Chunk
from deployments.offline.worker import Task, Work, Worker
from deployments.replicas.source import SourceError
from optimization.artifact.store import ArtifactError

NUM_CPUS = 0.01
"""That a worker reserves: serving keeps its own."""
MOST_BLOCKS = 2000
"""Pieces that Ray Data is given; of more chunks, some share one."""
_OURS: dict[str, type[Exception]] = {each.__name__: each for each in (ScoringError, ArtifactError, SourceError)}
"""What a worker may raise, by name."""


def spread(work: Work, tasks: list[Task], *, num_workers: int | None, niceness: int) -> Generator[Done, None, None]:
    """Score the chunks on the running cluster, or on one that is started for it; one worker for each of its CPUs
    unless told otherwise. `niceness` is added to theirs, so that replicas of the same node get their CPU first.

    Raises:
        ScoringError: an input cannot be read, or the cluster is lost.
        ArtifactError: the model cannot be run there.
    """
    if not ray.is_initialized():  # where the model was pushed into the cluster, this process has joined it already
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        _quiet()
        cpus: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        size = min(len(tasks), num_workers or max(1, int(cpus.get("CPU", 1))))
        rows = [{"task": json.dumps(asdict(task))} for task in tasks]
        work = replace(work, collector=collector_url())
        scored = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map_batches(
            _Actor,
            fn_constructor_args=(work, niceness),
            batch_size=1,
            compute=ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=NUM_CPUS,
        )
        for batch in scored.iter_batches(batch_size=None, prefetch_batches=0):
            yield from map(_done, batch["outcome"])
    except RayError as error:
        last = str(error).strip().rpartition("\n")[2]
        raise ScoringError(
            f"the Ray cluster cannot go on: {last}. The same command goes on where this run was"
        ) from error
    finally:
        ray.shutdown()


class _Actor:
    """A worker, as Ray Data calls it. What it raises of ours is handed back: Ray would wrap it, and try again."""

    def __init__(self, work: Work, niceness: int) -> None:
        os.nice(niceness)
        self._worker: Worker | None = None
        self._work = work

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": np.array([json.dumps(self._outcome(json.loads(each))) for each in batch["task"]])}

    def _outcome(self, task: dict[str, Any]) -> dict[str, Any]:
        try:
            self._worker = self._worker or Worker(self._work)
            done = self._worker.score(Task(chunk=Chunk(**task["chunk"]), paths=tuple(task["paths"])))
        except tuple(_OURS.values()) as error:
            return {"kind": type(error).__name__, "message": str(error)}
        return asdict(done)


def _done(outcome: str) -> Done:
    """The chunk that is whole.

    Raises:
        ScoringError, ArtifactError: as the worker did.
    """
    told = json.loads(outcome)
    if "kind" in told:
        raise _OURS[told["kind"]](told["message"])
    return Done(**told | {"examples": tuple(told["examples"])})


def _quiet() -> None:
    """The run has a progress bar of its own."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_auto_log_stats = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
