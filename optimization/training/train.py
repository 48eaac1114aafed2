"""Trains models on workers of Ray Train.

    driver    Workers.train(job) ──▶ Coordinator ◀── work(): every worker takes the job, trains its share of each batch
                     ▲                  │
                     └─ epochs, weights ┘

A Ray Train run costs some fifteen seconds before its first step. One run therefore serves a whole recipe: its
workers stay, and take one job after the other from a coordinator. The weights come back
through it too, so the cluster needs no storage that all nodes share.
"""

import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import numpy as np
import ray
from numpy.typing import NDArray
from ray import train as ray_train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import nn

from optimization.artifact.findings import PrecisionChoice
from optimization.errors import TrainError
from optimization.pruning.scores import Saliency
from optimization.readers.examples import Split
from optimization.recipe.methods import SetPrecision, Training
from optimization.training import checkpoint, metering
from optimization.training.cluster import connect, held_back
from optimization.training.coordinator import Coordinator, Progress
from optimization.training.job import Job
from optimization.training.sharing import normalizes_by_batch
from optimization.training.stopping import stop
from optimization.training.worker import work

_log = logging.getLogger(__name__)

_POLL_S = 0.1
_MAX_LOSSES, _MAX_LOSSES_ELASTIC = 2, 8
"""How often a run may lose workers; each loss costs the epoch it falls in."""
_WATCH_S = "0.5"
"""How often Ray Train looks whether workers are done or lost; its own two seconds are waited for at each end."""
_PATIENCE_S = 20.0
"""How long workers may take to end once they were told to."""


class Workers:
    """Ray Train workers, to be used in a `with` statement; they start with the first thing they are asked for.

    They run on the cluster this process or `RAY_ADDRESS` is connected to, else on one of their own.
    """

    def __init__(
        self,
        split: Split,
        *,
        num_workers: int,
        service: str,
        cpus_per_worker: int = 1,
        min_workers: int | None = None,
        num_cpus_reading: int = 0,
        starting: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._split = split
        self._num_workers = num_workers
        self._cpus_per_worker = cpus_per_worker
        self._min_workers = min_workers or num_workers
        self._num_cpus_reading = num_cpus_reading
        self._service = service
        self._starting = starting
        self._use_gpu = False
        self.notes: list[str] = []
        """What a reader of the results should know of the training."""
        self._coordinator: Any = None  # an actor's handle, whose methods Ray makes up
        self._owns_cluster = False
        self._run: ray.ObjectRef[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._abort()
            return
        if self._run is None:
            return
        ray.get(self._coordinator.close.remote())
        ray.wait([self._run], timeout=_PATIENCE_S)
        if self._owns_cluster:
            ray.shutdown()

    def train(self, job: Job, advance: Callable[[int, float], None] = lambda _epochs, _loss: None) -> nn.Module:
        """Train `job.model`, on all workers together, and return it; `advance` is told of each epoch and its loss.

        Raises:
            TrainError: the loss is no number any more, or the workers are gone.
        """
        self._start_once()
        self._note_normalization(job)
        ray.get(self._coordinator.submit.remote(job))
        num_heard = num_kept = 0
        while True:
            progress: Progress = self._hear(self._coordinator.progress.remote(num_heard), f"{job.step!r} was trained")
            if progress.problem is not None:
                self._keep(job)
                raise TrainError(progress.problem)
            for epoch in range(num_heard, len(progress.losses)):
                advance(epoch + 1, progress.losses[epoch])
            num_heard = len(progress.losses)
            if num_kept < num_heard:
                num_kept = num_heard
                self._keep(job)
            if progress.weights is not None:
                job.model.load_state_dict(ray.get(self._coordinator.weights.remote()))
                return job.model.eval()

    def answer(self, model: nn.Module, precision: SetPrecision) -> NDArray[np.float32]:
        """The model's logits on the training data, each worker computing its share.

        Raises:
            TrainError: the workers are gone.
        """
        self._start_once()
        asked = Training(epochs=1, precision=precision)
        question = Job(step="teacher", model=model, training=asked, seed=0, is_question=True)
        ray.get(self._coordinator.submit.remote(question))
        found: NDArray[np.float32] = self._hear(self._coordinator.answers.remote(), "the teacher had answered")
        return found

    def saliency(self) -> Saliency | None:
        """What the score of the job trained last gathered, the same on all workers."""
        if self._run is None:
            return None
        gathered: Saliency | None = ray.get(self._coordinator.saliency.remote())
        return gathered

    def choice(self) -> PrecisionChoice | None:
        """The precision of what was trained or answered last, where that was left open."""
        chosen: PrecisionChoice | None = ray.get(self._coordinator.choice.remote())
        return chosen

    def _note_normalization(self, job: Job) -> None:
        """Say once where the model depends on the number of workers."""
        if self._num_workers == 1 or self._use_gpu or self.notes or not normalizes_by_batch(job.model):
            return
        self.notes.append(
            f"BatchNorm: each of the {self._num_workers} workers normalizes by its own part of a batch, since torch "
            "synchronizes it on GPUs alone; the model depends on the number of workers (one, with cpus_per_worker: "
            f"{self._num_workers * self._cpus_per_worker}, normalizes by the whole batch)"
        )
        _log.warning("%s", self.notes[0])

    def _keep(self, job: Job) -> None:
        """Write the newest checkpoint, if there is one, where the job says."""
        if job.kept is None:
            return
        packed: bytes | None = ray.get(self._coordinator.checkpoint.remote())
        if packed is not None:
            checkpoint.write(job.kept, packed)

    def _start_once(self) -> None:
        """Start the workers where there are none yet, and wait until all are there; `starting` is shown meanwhile."""
        if self._run is not None:
            return
        with self._starting():
            self._owns_cluster = not ray.is_initialized()
            if self._owns_cluster:
                with held_back(signal.SIGINT):
                    connect(self._num_workers * self._cpus_per_worker + self._num_cpus_reading)
            self._start()
            while not ray.get(self._coordinator.is_complete.remote()):
                self._expect_alive("they had started")
                time.sleep(_POLL_S)

    def _start(self) -> None:
        available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        num_cpus = int(available.get("CPU", 0))
        least = self._min_workers * self._cpus_per_worker
        if num_cpus - self._num_cpus_reading < least:
            name = "min_workers" if self._min_workers < self._num_workers else "workers"
            name += " x cpus_per_worker" if self._cpus_per_worker > 1 else ""
            less = f" less {self._num_cpus_reading} that reads the stream" if self._num_cpus_reading else ""
            raise TrainError(f"{name} must be at most the cluster's {num_cpus} CPUs{less}, got {least}")
        self._use_gpu = use_gpu = available.get("GPU", 0) >= self._min_workers
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        beside_driver: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": here}  # any other node may be lost
        self._coordinator = ray.remote(**beside_driver)(Coordinator).remote(self._split)
        settings = {
            "coordinator": self._coordinator,
            "service": self._service,
            "run": uuid4().hex[:8],
            "variables": metering.variables(),
        }
        is_elastic = self._min_workers < self._num_workers
        num_workers: Any = (self._min_workers, self._num_workers) if is_elastic else self._num_workers
        each = {"CPU": float(self._cpus_per_worker)} | ({"GPU": 1.0} if use_gpu else {})
        scaling = ray_train.ScalingConfig(num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=each)
        self._run = ray.remote(**beside_driver, max_retries=0)(_run).remote(settings, scaling)

    def _hear(self, asked: ray.ObjectRef[Any], event: str) -> Any:
        """Wait for the coordinator's answer, or for the workers to fail; asking again and again would cost them CPU."""
        ray.wait([asked, self._run], num_returns=1)
        if not ray.wait([asked], timeout=0)[0]:
            self._expect_alive(event)
        return ray.get(asked)

    def _expect_alive(self, event: str) -> None:
        assert self._run is not None, "started"
        if not ray.wait([self._run], timeout=0)[0]:
            return
        try:
            ray.get(self._run)
        except ray.exceptions.RayError as error:
            raise TrainError(f"the workers stopped before {event}: {error}") from error

    def _abort(self) -> None:
        """Leave without waiting for what is being trained."""
        if not ray.is_initialized():
            return
        if self._owns_cluster:
            ray.shutdown()
        elif self._run is not None:
            stop(self._run)


def _run(settings: dict[str, Any], scaling: ray_train.ScalingConfig) -> None:
    """Run Ray Train until the coordinator is closed.

    This is a task of its own, not a thread of the driver: a thread that still waits for Ray when Ray is shut down takes
    the whole process with it.
    """
    is_elastic = isinstance(scaling.num_workers, tuple)
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _WATCH_S)
    with tempfile.TemporaryDirectory(prefix="trimtab-", ignore_cleanup_errors=True) as storage:
        TorchTrainer(
            work,
            train_loop_config=settings,
            torch_config=TorchConfig(backend="nccl" if scaling.use_gpu else "gloo"),
            scaling_config=scaling,
            run_config=ray_train.RunConfig(
                name=settings["service"],
                storage_path=storage,
                failure_config=ray_train.FailureConfig(max_failures=_MAX_LOSSES_ELASTIC if is_elastic else _MAX_LOSSES),
            ),
        ).fit()
