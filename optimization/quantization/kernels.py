"""Chooses how 8-bit weights are held, by what is fast here and changes little here.

signed           eight bits, signed: the fastest, and exact on processors with VNNI
signed_7_bits    seven of them: processors without VNNI add two products in 16 bits, which eight may exceed
unsigned         eight bits, unsigned: exact everywhere, slower on some

The same file may answer otherwise on another processor: what is chosen is right where it was measured.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from optimization.artifact.findings import Kernel, KernelChoice
from optimization.graphs import graph
from optimization.measuring import processor
from optimization.quantization.quantize import KERNELS, Batch, Prepared, write

_NUM_TURNS = 7
_FEW = 4
"""Batches that are tried."""
_SOUND = 2.0
"""Times the least change that is borne for speed: a bit less costs about that much, sums that overflow far more."""
_ALIKE = 1.05
"""What is not this many times faster is decided by the change."""


def choose(prepared: Prepared, folder: Path, batches: Sequence[Batch]) -> tuple[Prepared, KernelChoice]:
    """The prepared model with the kernel it is to be written for; files are left in `folder`."""
    tried = [dict(each) for each in batches[:_FEW]]
    fp32 = [graph.predict(graph.session(prepared.path), each) for each in tried]
    sessions, changed = {}, {}
    for kernel in KERNELS:
        path = folder / f"{kernel}.onnx"
        write(replace(prepared, kernel=kernel), path)
        sessions[kernel] = graph.session(path)
        changed[kernel] = _apart(fp32, [graph.predict(sessions[kernel], each) for each in tried])
    seconds: dict[Kernel, list[float]] = {kernel: [] for kernel in KERNELS}
    for _ in range(_NUM_TURNS):
        for kernel, session in sessions.items():
            began = time.perf_counter()
            for each in tried:
                graph.predict(session, each)
            seconds[kernel].append(time.perf_counter() - began)
    choice = decide({kernel: median(each) for kernel, each in seconds.items()}, changed)
    return replace(prepared, kernel=choice.kernel), choice


def decide(seconds: Mapping[Kernel, float], changed: Mapping[Kernel, float]) -> KernelChoice:
    """The fastest kernel of those that change the outputs little, as such changes go."""
    least = min(changed.values())
    sound = [kernel for kernel in seconds if changed[kernel] <= _SOUND * least]
    fastest_s = min(seconds[kernel] for kernel in sound)
    fast = [kernel for kernel in sound if seconds[kernel] <= _ALIKE * fastest_s]
    return KernelChoice(
        kernel=min(fast, key=lambda kernel: changed[kernel]),
        seconds=dict(seconds),
        changed=dict(changed),
        processor=processor.name(),
    )


def _apart(one: Sequence[NDArray[np.float32]], other: Sequence[NDArray[np.float32]]) -> float:
    """Root of the mean squared difference of all outputs."""
    squares = [np.square(each - with_it, dtype=np.float64).ravel() for each, with_it in zip(one, other, strict=True)]
    return float(np.sqrt(np.concatenate(squares).mean()))
