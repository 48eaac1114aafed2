"""What a worker of Ray Train does: it takes jobs from the coordinator, and trains its share of each batch."""

from dataclasses import replace
from typing import Any

import numpy as np
import ray
import torch
from ray import train as ray_train
from ray.train.torch import get_device

from optimization.distillation.targets import faster, in_precision, teacher_logits
from optimization.readers.examples import Split
from optimization.training.coordinator import Progress
from optimization.training.flow import Flow, flow
from optimization.training.job import Job
from optimization.training.loop import Place, fit, flush_denormals
from optimization.training.metering import Meter, reporting


def work(config: dict[str, Any]) -> None:
    """What every worker does: take jobs until there are no more."""
    flush_denormals()
    coordinator = config["coordinator"]
    context = ray_train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    place = Place(rank=rank, world=world, device=get_device())
    instance = f"{config['run']}-rank{rank}"
    with reporting(config["service"], instance, rank, config["variables"]) as meter:
        split, number, saved = ray.get(coordinator.join.remote(rank, world))
        while (job := ray.get(coordinator.next_job.remote(number))) is not None:
            if job.is_question:
                rows = np.arange(rank, len(split), world)
                asked, share, wanted = job.model.to(place.device), split.take(rows), job.training.precision
                choice = faster(asked, share) if wanted == "auto" else None
                ray.get(coordinator.report.remote(Progress(choice=choice)))
                logits = teacher_logits(in_precision(asked, wanted, choice), share)
                ray.get(coordinator.add_answers.remote(rows, logits))
            else:
                examples = split if job.stream is None else flow(job.stream, job.seed, place)
                _fit(replace(job, saved=saved or job.saved), examples, meter, place, coordinator)
            number, saved = number + 1, None


def _fit(job: Job, examples: Split | Flow, meter: Meter, place: Place, coordinator: Any) -> None:
    try:
        for progress in fit(job, examples, meter, place):
            if place.rank == 0:
                ray.get(coordinator.report.remote(progress))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        ray.get(coordinator.report.remote(Progress(problem=out_of_memory(job, error))))
        raise  # the others wait for this one: all start anew


def is_out_of_memory(error: Exception) -> bool:
    """Whether CPU or GPU had no memory left; torch tells of the CPU's by words alone."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def out_of_memory(job: Job, error: Exception) -> str:
    """What to tell the user."""
    size, parts = job.training.batch_size, job.training.accumulate
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return (
        f"{job.step!r} must fit into memory, got: {reason}. "
        f"Lower its batch_size ({size}) or raise accumulate ({parts}); finished epochs are kept, and gone on from"
    )
