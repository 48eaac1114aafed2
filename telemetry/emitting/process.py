"""CPU, memory and file descriptors of this process, from /proc and its control group."""

import os
import resource
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from telemetry.conventions import (
    CPU_THROTTLED_PERIODS,
    CPU_THROTTLED_TIME,
    PROCESS_CPU_UTILIZATION,
    PROCESS_FILE_DESCRIPTORS,
    PROCESS_FILE_DESCRIPTORS_LIMIT,
    PROCESS_MEMORY_USAGE,
)
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter

SHARE_OF_TIME = 0.001
"""Of a process's time, what reading its memory may take: reading it holds up whoever maps memory."""
READ_EVERY_S = 5.0
"""And no more often than this."""

_ROLLUP = Path("/proc/self/smaps_rollup")
_CGROUPS = Path("/sys/fs/cgroup")


def observe(emitter: Emitter) -> None:
    """Report them with every export."""
    process = psutil.Process()
    num_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    process.cpu_percent()  # the first call only sets the starting point
    emitter.gauge(PROCESS_CPU_UTILIZATION, lambda: {(): process.cpu_percent() / 100 / num_cpus})
    memory = Memory(process)
    emitter.gauge(PROCESS_MEMORY_USAGE, lambda: {(): memory.bytes()})
    if hasattr(process, "num_fds"):
        emitter.gauge(PROCESS_FILE_DESCRIPTORS, lambda: {(): process.num_fds()})
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit != resource.RLIM_INFINITY:
            emitter.gauge(PROCESS_FILE_DESCRIPTORS_LIMIT).set(limit)
    throttled = Throttling.found()
    if throttled is not None:
        emitter.gauge(CPU_THROTTLED_PERIODS, throttled.periods)
        emitter.gauge(CPU_THROTTLED_TIME, throttled.seconds)


class Memory:
    """Proportional set size: a page that n processes map counts a n-th for each, so that sums are true.

    The kernel walks all mappings for it, some ten milliseconds where gigabytes are mapped, so it is read seldom; in
    between it is as much more or less as the resident set is. Without it, the resident set itself.
    """

    def __init__(self, process: psutil.Process, rollup: Path = _ROLLUP) -> None:
        self._process = process
        self._rollup = rollup
        self._next_s = 0.0
        self._shared: int | None = 0
        """Resident bytes that are other processes' share; none where it cannot be known."""

    def bytes(self) -> int:
        """Now."""
        resident: int = self._process.memory_info().rss
        now_s = time.monotonic()
        if self._shared is not None and now_s >= self._next_s:
            began_s = time.perf_counter()
            proportional = self._read()
            took_s = time.perf_counter() - began_s
            self._next_s = now_s + max(READ_EVERY_S, took_s / SHARE_OF_TIME)
            self._shared = None if proportional is None else max(0, resident - proportional)
        return max(0, resident - (self._shared or 0))

    def _read(self) -> int | None:
        with suppress(OSError):
            for line in self._rollup.read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
        return None


class Throttling:
    """How often, and how long, the process's control group (cgroup v2) has waited for CPU time since now."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._before = _stat(file)

    @classmethod
    def found(cls, root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> "Throttling | None":
        """That of this process's group, if it has one that may be throttled."""
        with suppress(OSError):
            for line in own.read_text().splitlines():
                if line.startswith("0::"):
                    file = root / line[3:].strip().lstrip("/") / "cpu.stat"
                    file = (
                        file if file.exists() else root / "cpu.stat"
                    )  # in a container that sees its own group as root
                    if "nr_throttled" in _stat(file):
                        return cls(file)
        return None

    def periods(self) -> Mapping[Attributes, float]:
        """How often."""
        return {(): self._since("nr_throttled")}

    def seconds(self) -> Mapping[Attributes, float]:
        """How long."""
        return {(): self._since("throttled_usec") / 1e6}

    def _since(self, name: str) -> int:
        return max(0, _stat(self._file).get(name, 0) - self._before.get(name, 0))


def _stat(file: Path) -> dict[str, int]:
    pairs = (line.split() for line in file.read_text().splitlines())
    return {name: int(value) for name, value in pairs}
