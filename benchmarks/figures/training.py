"""What distribution, the teacher's cached outputs and a killed worker do to training."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import psutil
import torch
from torch import nn

from benchmarks.figures import plain_loop
from benchmarks.figures.setting import RECIPES, Figures, Setting
from optimization.chance import generator
from optimization.distillation import students
from optimization.distillation.targets import SoftTargets, distillation_loss, teacher_logits
from optimization.networks import models
from optimization.readers import data
from optimization.readers.examples import Dataset
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe
from optimization.training.batches import shards
from optimization.training.job import Job
from optimization.training.train import Workers

KEYS = ("train_overhead", "cache_speedup", "resume_gap")
_NUM_WORKERS = 2


def measure_overhead(setting: Setting) -> Figures:
    """Samples per second of two Ray Train workers over those of torchrun with the same model, data and batches.

    They take turns; the first epoch, in which caches fill, does not count.
    """
    rounds = 1 if setting.quick else 3
    loop = plain_loop.Loop(epochs=3 if setting.quick else 9)
    rates: dict[str, list[float]] = {"ray": [], "torchrun": []}
    for _ in range(rounds):
        rates["torchrun"].append(_with_torchrun(loop))
        rates["ray"].append(_with_ray(loop))
    ratios = [ray / plain for ray, plain in zip(rates["ray"], rates["torchrun"], strict=True)]
    return {
        "train_overhead": median(ratios),
        "train_ray_samples_per_s": median(rates["ray"]),
        "train_torchrun_samples_per_s": median(rates["torchrun"]),
    }


def measure_cache(setting: Setting) -> Figures:
    """Time of a distillation epoch that asks the teacher again over one that reads its cached outputs: digits."""
    wanted, dataset, teacher, student = _digits()
    logits = torch.from_numpy(teacher_logits(teacher, dataset.train))
    recomputed, cached = [], []
    for _ in range(3 if setting.quick else 9):
        cached.append(_epoch(wanted, dataset, student, lambda rows, _inputs: logits[rows]))
        recomputed.append(_epoch(wanted, dataset, student, lambda _rows, inputs: teacher(inputs)))
    return {"cache_speedup": median(recomputed) / median(cached)}


def measure_resume(setting: Setting) -> Figures:
    """Largest difference of a weight after a training in which a worker was killed from one undisturbed: digits."""
    wanted, dataset, teacher, _ = _digits()
    assert wanted.distill is not None, "the recipe distils"
    soft = SoftTargets(
        logits=teacher_logits(teacher, dataset.train),
        temperature=wanted.distill.temperature,
        alpha=wanted.distill.alpha,
    )
    epochs = 4 if setting.quick else wanted.distill.training.epochs
    training = wanted.distill.training.model_copy(update={"epochs": epochs})
    weights: list[dict[str, torch.Tensor]] = []
    with Workers(dataset.train, num_workers=_NUM_WORKERS, service="resume") as workers:
        for kill in (False, True):
            student = students.build(wanted.distill.student, teacher, dataset, wanted.seed)
            job = Job(step="distill", model=student, training=training, seed=wanted.seed, soft=soft)
            weights.append(workers.train(job, _killer(epochs // 2) if kill else _ignore).state_dict())
    undisturbed, killed = weights
    return {"resume_gap": max(float((undisturbed[name] - killed[name]).abs().max()) for name in undisturbed)}


def _with_ray(loop: plain_loop.Loop) -> float:
    times: list[float] = []

    def advance(num_epochs: int, _loss: float) -> None:
        if num_epochs > len(times):
            times.extend([time.perf_counter()] * (num_epochs - len(times)))

    with Workers(loop.split(), num_workers=_NUM_WORKERS, service="overhead") as workers:
        workers.train(Job(step="control", model=loop.model(), training=loop.training(), seed=0), advance)
    return loop.num_samples * (len(times) - 1) / (times[-1] - times[0])


def _with_torchrun(loop: plain_loop.Loop) -> float:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={_NUM_WORKERS}"]
    done = subprocess.run(
        [*torchrun, "-m", plain_loop.__name__, str(loop.epochs)], capture_output=True, text=True, check=True
    )
    times: list[float] = json.loads(done.stdout.splitlines()[-1])
    return loop.num_samples * (len(times) - 1) / (times[-1] - times[0])


def _digits() -> tuple[Recipe, Dataset, nn.Module, nn.Module]:
    wanted = recipe.load(RECIPES / "digits.yaml")
    assert wanted.teacher.model is not None and wanted.distill is not None, "the recipe has a teacher and distils"
    dataset = data.load(wanted.data, wanted.seed)
    teacher = models.build(wanted.teacher.model, dataset, wanted.seed)
    return wanted, dataset, teacher, students.build(wanted.distill.student, teacher, dataset, wanted.seed)


def _epoch(
    wanted: Recipe,
    dataset: Dataset,
    student: nn.Module,
    ask: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> float:
    """Seconds of one epoch on one process; `ask` gives the teacher's logits of those rows, whose inputs are given."""
    assert wanted.distill is not None, "the recipe distils"
    optimizer = torch.optim.AdamW(student.parameters())
    labels = torch.from_numpy(dataset.train.labels)
    began = time.perf_counter()
    for rows in shards(dataset.train, np.arange(len(dataset.train)), 64, generator(0), 0, 1):
        inputs = torch.from_numpy(next(iter(dataset.train.batch(rows).values())))
        share = torch.from_numpy(rows)
        with torch.inference_mode():
            soft = ask(share, inputs)
        settings, task = wanted.distill, dataset.task
        losses = distillation_loss(
            task, student(inputs), labels[share], soft.clone(), settings.temperature, settings.alpha
        )
        optimizer.zero_grad()
        losses.mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return time.perf_counter() - began


def _killer(after: int) -> Callable[[int, float], None]:
    """Kills one of this cluster's train workers once, after so many epochs."""
    done = threading.Event()

    def advance(num_epochs: int, _loss: float) -> None:
        if num_epochs < after or done.is_set():
            return
        done.set()
        ours = psutil.Process().children(recursive=True)
        worker = next(each for each in ours if "RayTrainWorker" in " ".join(each.cmdline()))
        os.kill(worker.pid, signal.SIGKILL)

    return advance


def _ignore(_num_epochs: int, _loss: float) -> None:
    pass
