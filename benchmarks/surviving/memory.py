"""Resident memory of the processes of a server: what each holds now, and how it has grown."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import psutil
from scipy.stats import theilslopes

from benchmarks.servers import Server, processes

MIB = 2**20
BLOCKS = 12
_TITLE = re.compile(r"^ray::(\S+)")
_PROGRAM = re.compile(r"([\w-]+?)(?:\.py)?$")


def resident(server: Server) -> dict[str, int]:
    """Bytes by process: the server's own, and all below it that have not ended."""
    found = {f"serve {server.process.pid}": psutil.Process(server.process.pid).memory_info().rss}
    for process, command in processes(server):
        with suppress(psutil.NoSuchProcess):
            found[f"{role(command)} {process.pid}"] = process.memory_info().rss
    return found


def role(command: str) -> str:
    """What a process is, from its command line: the actor's name, else the program's."""
    if title := _TITLE.match(command):
        of_replica = title[1].removeprefix("ServeReplica:")
        return of_replica if of_replica != title[1] else title[1].partition(".")[0]  # and what it does just now
    words = [word for word in command.split() if not word.startswith("-")]
    program = words[1] if len(words) > 1 and "python" in words[0] else next(iter(words), "?")
    found = _PROGRAM.search(program)
    return found[1] if found else program


def growth(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, float]:
    """What each process that was there `before` holds over what it held then."""
    return {name: after[name] / held for name, held in before.items() if name in after}


@dataclass(frozen=True, kw_only=True)
class Slope:
    """How fast memory grows, in MiB an hour, with a 95 % interval."""

    mib_per_h: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mib_per_h:.2f} ({self.low:.2f} to {self.high:.2f}) MiB/h"


def slope(times_s: Sequence[float], held: Sequence[int], blocks: int = BLOCKS) -> Slope:
    """The median of the slopes between any two of `blocks` equal times, each of which counts by its median.

    Robust against a few wild values (Theil 1950, Sen 1968). What memory does within a block hangs together, so that
    blocks alone count as observations.
    """
    parts = np.array_split(np.arange(len(held)), min(blocks, len(held)))
    times_h = [float(np.median(np.asarray(times_s)[part])) / 3600 for part in parts]
    mib = [float(np.median(np.asarray(held)[part])) / MIB for part in parts]
    found = theilslopes(mib, times_h, alpha=0.95)
    return Slope(mib_per_h=float(found.slope), low=float(found.low_slope), high=float(found.high_slope))
