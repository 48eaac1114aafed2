"""Chooses between fp32 and bf16 for a model's products, by trying both where it will run.

What bf16 gives depends on the processor: with AMX a step takes a third of fp32's time, with AVX-512 BF16 half of it,
but four to six times as long where it is emulated, as on AVX2. Both take the same step in turns; bf16 is taken where it
is clearly faster and comes to the same.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, distributed
from torch.nn import functional

from optimization.artifact.findings import Precision, PrecisionChoice
from optimization.measuring import processor

SAME_GRADIENTS, SAME_ANSWERS = 0.95, 0.999
"""Least cosine between what both give; the gradients of two batches are far less alike than two such of one batch."""

_GAIN = 1.1
"""bf16 must be this many times faster: fp32 is exact, and what is about as fast would be decided by noise."""
_FEWEST_TURNS, _MOST_TURNS, _ENOUGH_S = 3, 15, 0.2
"""There are no more than the fewest turns once they took so long together; the first turn warms up."""
_SHORT_S = 0.003
"""A step of less stays in fp32: it is made of overheads, and the choice would be chance."""
_HOPELESS, _LONG_S = 2.0, 0.5
"""bf16 is not tried again once it took this many times as long as fp32, and as many seconds."""


def choose(attempt: Callable[[Precision], Tensor], least_alike: float, device: torch.device) -> PrecisionChoice:
    """Call `attempt` in both precisions, in turns; it gives what must come to the same: gradients, or answers.

    Workers that train together must call this together: all of them get the same choice, which the slowest one's times
    decide. Random numbers go on afterwards as if nothing had been tried.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter  # what else the machine does is no matter
    took: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    gave: dict[Precision, Tensor] = {}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for turn in range(1 + _MOST_TURNS):
            for precision, seconds in took.items():
                torch.manual_seed(0)  # both leave out the same
                began = clock()
                gave[precision] = attempt(precision).flatten().double().cpu()
                seconds.append(clock() - began)
            fp32_s, bf16_s = (each[-1] for each in took.values())
            if bf16_s > max(_HOPELESS * fp32_s, _LONG_S):
                break
            if turn >= _FEWEST_TURNS and sum(map(sum, took.values())) > _ENOUGH_S:
                break
    alike = functional.cosine_similarity(gave["fp32"], gave["bf16"], dim=0, eps=1e-30)
    seconds_each = [min(each[1:] or each) for each in took.values()]
    fp32_s, bf16_s, apart = _worst([*seconds_each, float(1 - alike)], device)
    return decide(fp32_s, bf16_s, 1 - apart, least_alike)


def decide(fp32_s: float, bf16_s: float, alike: float, least_alike: float) -> PrecisionChoice:
    """The choice by what a step takes in each precision, and by how much alike they are."""
    is_better = fp32_s >= max(_SHORT_S, _GAIN * bf16_s) and alike >= least_alike  # not where that is no number
    return PrecisionChoice(
        precision="bf16" if is_better else "fp32",
        seconds={"fp32": fp32_s, "bf16": bf16_s},
        alike=alike if alike == alike else 0.0,  # no number equals itself but this
        processor=processor.name(),
    )


def _worst(numbers: list[float], device: torch.device) -> list[float]:
    """The largest of each, over all workers."""
    found = torch.tensor(numbers, dtype=torch.float64, device=device)
    if distributed.is_initialized():
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return [float(each) for each in found]
