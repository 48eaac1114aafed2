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
    MEMORY_AVAILABLE,
    PROCESS_CPU_UTILIZATION,
    PROCESS_CPUS,
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
_CGROUPS, _OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def observe(emitter: Emitter) -> None:
    """Report them with every export."""
    process = psutil.Process()
    num_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    process.cpu_percent()  # the first call only sets the starting point
    emitter.gauge(PROCESS_CPU_UTILIZATION, lambda: {(): process.cpu_percent() / 100 / num_cpus})
    emitter.gauge(PROCESS_CPUS).set(num_cpus)
    memory = Memory(process)
    emitter.gauge(PROCESS_MEMORY_USAGE, lambda: {(): memory.bytes()})
    group = _group(_CGROUPS, _OWN_GROUP, "memory.max")
    emitter.gauge(MEMORY_AVAILABLE, lambda: {(): available_bytes(group)})
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
    def found(cls, root: Path = _CGROUPS, own: Path = _OWN_GROUP) -> "Throttling | None":
        """That of this process's group, if it has one that may be throttled."""
        with suppress(OSError):
            group = _group(root, own, "cpu.stat")
            if group is not None and "nr_throttled" in _stat(group / "cpu.stat"):
                return cls(group / "cpu.stat")
        return None

    def periods(self) -> Mapping[Attributes, float]:
        """How often."""
        return {(): self._since("nr_throttled")}

    def seconds(self) -> Mapping[Attributes, float]:
        """How long."""
        return {(): self._since("throttled_usec") / 1e6}

    def _since(self, name: str) -> int:
        return max(0, _stat(self._file).get(name, 0) - self._before.get(name, 0))


def available_bytes(group: Path | None) -> int:
    """Memory that is left: of the node, or of the control group (cgroup v2), whose page cache can be taken back."""
    left: int = psutil.virtual_memory().available
    if group is not None:
        with suppress(OSError, ValueError):  # "max" is no number: the group has no limit
            cached = _stat(group / "memory.stat").get("inactive_file", 0)
            used = int((group / "memory.current").read_text()) - cached
            left = min(left, max(0, int((group / "memory.max").read_text()) - used))
    return left


def _group(root: Path, own: Path, file: str) -> Path | None:
    """This process's control group, or the root, which a container sees in its place: the one that has `file`."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            if line.startswith("0::"):
                group = root / line[3:].strip().lstrip("/")
                return next((each for each in (group, root) if (each / file).exists()), None)
    return None


def _stat(file: Path) -> dict[str, int]:
    pairs = (line.split() for line in file.read_text().splitlines())
    return {name: int(value) for name, value in pairs}
