"""Chunks spread over a Ray cluster by Ray Data: a process for each CPU, behind whatever else runs there.

Ray Data may lose the order of what it maps, and runs again what a dead process has begun. Chunks are numbered and
written whole, so neither matters.
"""

import json
import logging
import os
from collections.abc import Generator
from dataclasses import asdict
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayTaskError

from deployments.errors import ScoringError
from deployments.offline.output import Done
from deployments.offline.rows import Chunk
from deployments.offline.worker import Task, Work, Worker
from optimization.artifact.store import ArtifactError

NICENESS = 15
"""Added to a worker's, so that replicas of the same node get their CPU first."""
NUM_CPUS = 0.01
"""That a worker reserves: serving keeps its own."""
MOST_BLOCKS = 2000
"""Pieces that Ray Data is given; of more chunks, some share one."""


def spread(work: Work, tasks: list[Task], num_workers: int | None = None) -> Generator[Done, None, None]:
    """Score the chunks on the running cluster, or on one that is started for it; one worker for each of its CPUs.

    Raises:
        ScoringError: an input cannot be read.
        ArtifactError: the model cannot be run there.
    """
    began_here = not ray.is_initialized()
    if began_here:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        _quiet()
        cpus: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        size = min(len(tasks), num_workers or max(1, int(cpus.get("CPU", 1))))
        rows = [{"task": json.dumps(asdict(task))} for task in tasks]
        scored = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map_batches(
            _Actor,
            fn_constructor_args=(work,),
            batch_size=1,
            compute=ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=NUM_CPUS,
            scheduling_strategy="SPREAD",
        )
        for batch in scored.iter_batches(batch_size=None, prefetch_batches=0):
            yield from (Done(**json.loads(each)) for each in batch["done"])
    except RayTaskError as error:
        raise _ours(error) from None
    finally:
        if began_here:
            ray.shutdown()


class _Actor:
    """A worker, as Ray Data calls it."""

    def __init__(self, work: Work) -> None:
        os.nice(NICENESS)
        self._worker = Worker(work)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        done = [self._worker.score(_task(json.loads(each))) for each in batch["task"]]
        return {"done": np.array([json.dumps(asdict(each)) for each in done], dtype=object)}


def _task(values: dict[str, Any]) -> Task:
    return Task(chunk=Chunk(**values["chunk"]), paths=tuple(values["paths"]))


def _quiet() -> None:
    """The run has a progress bar of its own."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_auto_log_stats = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _ours(error: BaseException) -> BaseException:
    """What a worker raised, without what Ray wraps it in; that of Ray where it raised nothing of ours."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ScoringError | ArtifactError):
            return type(found)(str(found).splitlines()[-1] if isinstance(found, RayTaskError) else str(found))
        found = getattr(found, "cause", None) or found.__cause__
    return error
