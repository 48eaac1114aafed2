"""Trains models on Ray Train workers; the one file that knows it.

    driver    Workers.train(job) ──▶ Mailbox ◀── work(): every worker takes the job, trains its share of each batch
                     ▲                  │
                     └─ epochs, weights ┘

A Ray Train run costs some fifteen seconds before its first step. One run therefore serves a whole recipe: its
workers stay, and take one job after the other from a mailbox. The weights come back through the mailbox too, so the
cluster needs no storage that all nodes share.
"""

import logging
import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray import train as ray_train
from ray.train.torch import TorchConfig, TorchTrainer, get_device, prepare_model
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from optimization import sparsify
from optimization.distill import distillation_loss, hard_loss
from optimization.errors import TrainError
from optimization.examples import Split
from optimization.mailbox import Job, Letter, Mailbox
from optimization.scores import Gradients, Saliency
from optimization.stopwatch import Stopwatch
from telemetry import conventions, emit, resources

_POLL_S = 0.1
_BATCHES_SORTED = 50
"""Texts of this many batches are sorted by length together: the order stays random where lengths are alike."""
_PATIENCE_S = 20.0
"""How long workers may take to end once they were told to."""


class Workers:
    """Ray Train workers, to be used in a `with` statement.

    They run on the cluster this process or `RAY_ADDRESS` is connected to, else on one of their own.
    """

    def __init__(self, split: Split, *, num_workers: int, service: str) -> None:
        self._split = split
        self._num_workers = num_workers
        self._service = service
        self._mailbox: Any  # an actor's handle, whose methods Ray makes up
        self._run: ray.ObjectRef[None] | None = None

    def __enter__(self) -> Self:
        self._owns_cluster = not ray.is_initialized()
        try:
            if self._owns_cluster:
                with _held_back(signal.SIGINT):
                    _connect(self._num_workers)
            self._start()
            while ray.get(self._mailbox.num_present.remote()) < self._num_workers:
                self._expect_alive("they had started")
                time.sleep(_POLL_S)
        except BaseException:
            self._abort()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._abort()
            return
        ray.get(self._mailbox.close.remote())
        ray.wait([self._run], timeout=_PATIENCE_S)
        if self._owns_cluster:
            ray.shutdown()

    def train(self, job: Job, advance: Callable[[int, float], None] = lambda _epochs, _loss: None) -> nn.Module:
        """Train `job.model`, on all workers together, and return it; `advance` is told of each epoch and its loss.

        Raises:
            TrainError: the loss is no number any more, or the workers are gone.
        """
        ray.get(self._mailbox.post.remote(job))
        num_heard = 0
        while True:
            letter: Letter = ray.get(self._mailbox.letter.remote())
            if letter.problem is not None:
                raise TrainError(letter.problem)
            for epoch in range(num_heard, len(letter.losses)):
                advance(epoch + 1, letter.losses[epoch])
            num_heard = len(letter.losses)
            if letter.weights is not None:
                job.model.load_state_dict(ray.get(self._mailbox.weights.remote()))
                return job.model.eval()
            self._expect_alive(f"{job.step!r} was trained")
            time.sleep(_POLL_S)

    def saliency(self) -> Saliency | None:
        """What the score of the job trained last gathered, the same on all workers."""
        gathered: Saliency | None = ray.get(self._mailbox.saliency.remote())
        return gathered

    def _start(self) -> None:
        available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if available.get("CPU", 0) < self._num_workers:
            raise TrainError(
                f"workers must be at most the cluster's {available.get('CPU', 0):.0f} CPUs, got {self._num_workers}"
            )
        use_gpu = available.get("GPU", 0) >= self._num_workers
        self._mailbox = ray.remote(num_cpus=0)(Mailbox).remote(self._split)
        settings = {
            "mailbox": self._mailbox,
            "service": self._service,
            "run": uuid4().hex[:8],
            "endpoint": os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"),
        }
        scaling = ray_train.ScalingConfig(num_workers=self._num_workers, use_gpu=use_gpu)
        self._run = ray.remote(num_cpus=0, max_retries=0)(_run).remote(settings, scaling)

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
        if self._run is not None:
            ray.cancel(self._run, force=True)  # the workers end with the task that owns them
        if self._owns_cluster:
            ray.shutdown()


def _run(settings: dict[str, Any], scaling: ray_train.ScalingConfig) -> None:
    """Run Ray Train until the mailbox is closed.

    This is a task of its own, not a thread of the driver: a thread that still waits for Ray when Ray is shut down takes
    the whole process with it.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-", ignore_cleanup_errors=True) as storage:
        TorchTrainer(
            work,
            train_loop_config=settings,
            torch_config=TorchConfig(backend="nccl" if scaling.use_gpu else "gloo"),
            scaling_config=scaling,
            run_config=ray_train.RunConfig(
                name=settings["service"],
                storage_path=storage,
                failure_config=ray_train.FailureConfig(max_failures=2),  # a lost worker costs the job it was in
            ),
        ).fit()


@contextmanager
def cluster(num_workers: int) -> Iterator[None]:
    """A cluster for several things in a row, which else would each start one of their own."""
    if ray.is_initialized():
        yield
        return
    with _held_back(signal.SIGINT):
        _connect(num_workers)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(num_workers: int) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}  # progress bars own the terminal
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
    else:
        num_cpus = max(num_workers, os.cpu_count() or 1)
        ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **quiet)


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """Deliver the signal only when the block is done: a cluster that is half started leaves processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    usual = signal.signal(number, lambda got, _frame: held.append(got))
    try:
        yield
    finally:
        signal.signal(number, usual)
    if held:
        signal.raise_signal(number)


class Meter:
    """Telemetry of one worker."""

    def __init__(self, emitter: emit.Emitter, rank: int) -> None:
        self._rank = rank
        self._duration = emitter.histogram(conventions.TRAIN_STEP_DURATION)
        self._work = emitter.histogram(conventions.TRAIN_WORK_DURATION)
        self._samples = emitter.counter(conventions.TRAIN_SAMPLES)
        self._loss = emitter.gauge(conventions.TRAIN_LOSS)

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        """Count one optimizer step; `work_s` is the worker's own part, where it has others to wait for."""
        attributes: emit.Attributes = ((conventions.STEP, step), (conventions.RANK, self._rank))
        self._duration.record(duration_s, attributes)
        if work_s is not None:
            self._work.record(work_s, attributes)
        self._samples.add(num_samples, attributes)
        self._loss.set(loss, attributes)


def work(config: dict[str, Any]) -> None:
    """What every worker does: take jobs until there are no more."""
    mailbox = config["mailbox"]
    rank = ray_train.get_context().get_world_rank()
    instance = f"{config['run']}-rank{rank}"
    world = ray_train.get_context().get_world_size()
    with reporting(config["service"], instance, rank, config["endpoint"]) as meter:
        split, number = ray.get(mailbox.enter.remote(rank))
        while (job := ray.get(mailbox.take.remote(number))) is not None:
            for letter in fit(job, split, meter, rank=rank, world=world):
                if rank == 0:
                    ray.get(mailbox.report.remote(letter))
            number += 1


@contextmanager
def reporting(service: str, instance: str, rank: int, endpoint: str | None) -> Iterator[Meter]:
    """Report as a train worker while the block runs."""
    emitter = emit.Emitter(
        service=service, version="training", role="train_worker", instance=instance, endpoint=endpoint
    )
    resources.observe(emitter)
    meter = Meter(emitter, rank)
    emitter.start()
    try:
        yield meter
    finally:
        emitter.shutdown()


class Alone:
    """Trains in this process, as the only worker; `heard` is shown the model after each epoch."""

    def __init__(self, split: Split, meter: Meter, heard: Callable[[nn.Module], None]) -> None:
        self._split = split
        self._meter = meter
        self._heard = heard
        self._saliency: Saliency | None = None

    def train(self, job: Job, advance: Callable[[int, float], None]) -> nn.Module:
        """Train `job.model` and return it.

        Raises:
            TrainError: the loss is no number any more.
        """
        for letter in fit(job, self._split, self._meter):
            if letter.problem is not None:
                raise TrainError(letter.problem)
            if letter.weights is None:
                advance(len(letter.losses), letter.losses[-1])
                self._heard(job.model)
            self._saliency = letter.saliency
        return job.model.cpu().eval()

    def saliency(self) -> Saliency | None:
        """What the score of the job trained last gathered."""
        return self._saliency


def fit(job: Job, split: Split, meter: Meter, *, rank: int = 0, world: int = 1) -> Iterator[Letter]:
    """Train this worker's share and yield the progress after each epoch, at last with the weights.

    Equal jobs give equal models, whatever the number of workers, up to rounding: the workers share each batch, and
    the gradient is the mean over the whole batch.
    """
    # Ray Train's own helpers refuse to work outside of Ray Train.
    device = get_device() if world > 1 else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    watch = Stopwatch(job.model, device) if world > 1 else None
    model: nn.Module = prepare_model(job.model.train()) if world > 1 else job.model.train().to(device)
    labels = torch.tensor(split.labels).to(device)
    teacher = torch.tensor(job.soft.logits).to(device) if job.soft else None
    batches = num_batches(len(labels), job.training.batch_size)
    optimizer = torch.optim.AdamW(
        model.parameters(), job.training.learning_rate, weight_decay=job.training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, job.training.epochs * batches)
    trained = model.module if isinstance(model, DistributedDataParallel) else model
    gradients = Gradients(trained, job.score) if job.score else None
    held = sparsify.zeros(trained) if job.holds_zeros else {}
    epoch_losses: list[float] = []
    for epoch in range(job.training.epochs):
        total = torch.zeros((), device=device)
        num_seen = 0
        for rows in shards(split, job.training.batch_size, job.seed + epoch, rank, world):
            began = time.perf_counter()
            share = torch.from_numpy(rows).to(device)
            inputs = [torch.from_numpy(values).to(device) for values in split.batch(rows).values()]
            if watch is not None:
                watch.add(time.perf_counter() - began)
            logits = model(*inputs)
            if job.soft and teacher is not None:
                losses = distillation_loss(logits, labels[share], teacher[share], job.soft.temperature, job.soft.alpha)
            else:
                losses = hard_loss(logits, labels[share])
            # DDP divides by the number of workers: weigh by the share, so that the mean is over the whole batch.
            loss = losses.sum() * world / min(job.training.batch_size, len(labels))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if gradients is not None:
                gradients.observe()
            optimizer.step()
            sparsify.hold(trained, held)
            schedule.step()
            total += losses.detach().sum()
            num_seen += len(rows)
            mean = float(losses.detach().mean())
            work_s = watch.take() if watch is not None else None
            meter.step(job.step, time.perf_counter() - began, work_s, len(rows), mean)
        mean_loss = _mean(total, num_seen)
        if not math.isfinite(mean_loss):  # the same number on every worker, so that all of them stop
            yield Letter(problem=_divergence(job, epoch, mean_loss))
            return
        epoch_losses.append(mean_loss)
        yield Letter(losses=tuple(epoch_losses))
    weights = {name: tensor.detach().cpu() for name, tensor in trained.state_dict().items()}
    saliency = gradients.saliency() if gradients is not None else None
    yield Letter(losses=tuple(epoch_losses), weights=weights, saliency=saliency)


def num_batches(num_samples: int, batch_size: int) -> int:
    """Optimizer steps in one epoch: an incomplete last batch is left out, and shuffled in the next time."""
    return max(1, num_samples // batch_size)


def shards(split: Split, batch_size: int, seed: int, rank: int, world: int) -> Iterator[NDArray[np.int64]]:
    """This worker's rows of each batch of one epoch; together the workers' rows make the whole batch.

    Texts of about one length share a batch, so that little of it is padding.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(split))[: num_batches(len(split), batch_size) * batch_size]
    starts = np.arange(0, len(order), batch_size)
    if split.lengths is not None:
        for start in range(0, len(order), batch_size * _BATCHES_SORTED):
            chunk = order[start : start + batch_size * _BATCHES_SORTED]
            order[start : start + len(chunk)] = chunk[np.argsort(split.lengths[chunk], kind="stable")]
        starts = random.permutation(starts)
    for first in starts:
        yield order[first : first + batch_size][rank::world]


def _mean(total: Tensor, num_seen: int) -> float:
    """Mean loss over all workers."""
    both = torch.stack([total.double(), torch.tensor(float(num_seen), dtype=torch.float64, device=total.device)])
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(both)
    return float(both[0] / both[1])


def _divergence(job: Job, epoch: int, loss: float) -> str:
    return (
        f"the loss of {job.step!r} must stay finite, got {loss} in epoch {epoch + 1}: "
        f"lower the learning_rate ({job.training.learning_rate})"
    )
