"""What a machine is like, as the process that runs there sees it: gathered here, judged by `machine`."""

import ctypes
import importlib.metadata
import os
import platform
import resource
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from telemetry.storage.data_folder import default_folder

PACKAGES = (
    "trimtab",
    "ray",
    "onnxruntime",
    "numpy",
    "pydantic",
    "starlette",
    "uvicorn",
    "grpcio",
    "protobuf",
    "orjson",
)
"""Of which all nodes must have the same versions, since they exchange objects or answer for one another."""
_UNSYNCHRONISED = 5
"""What `adjtimex` returns where no time server steers the clock."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Of one machine; None where it could not be told."""

    host: str
    time_s: float
    python: str
    packages: dict[str, str]
    """Versions by name; without those that are missing."""
    is_clock_steered: bool | None
    free_bytes: dict[str, int]
    """Room on the disk by what it is for."""
    free_share: dict[str, float]
    open_files: int | None
    """Most files and connections of a process."""
    most_open_files: int | None
    """To which it may raise that itself."""
    shm_bytes: int | None
    """Size of /dev/shm, where Ray keeps objects."""
    memory_bytes: int | None
    free_memory_bytes: int | None
    gpus: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    """What ONNX Runtime can compute on."""


def facts() -> Facts:
    """Of this machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    disks = {what: shutil.disk_usage(_existing(path)) for what, path in _places().items()}
    memory = psutil.virtual_memory()
    limit = _memory_limit()
    return Facts(
        host=socket.gethostname(),
        time_s=time.time(),
        python=platform.python_version(),
        packages=_packages(),
        is_clock_steered=_is_clock_steered(),
        free_bytes={what: usage.free for what, usage in disks.items()},
        free_share={what: usage.free / usage.total for what, usage in disks.items()},
        open_files=soft,
        most_open_files=hard,
        shm_bytes=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None,
        memory_bytes=min(memory.total, limit or memory.total),
        free_memory_bytes=min(memory.available, limit or memory.available),
        gpus=_gpus(),
        providers=_providers(),
    )


def _places() -> dict[str, Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {"Ray's session": Path(tempfile.gettempdir()), "the collector": default_folder(), "artifacts": cache}


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _is_clock_steered() -> bool | None:
    """Whether a time server steers the kernel's clock; None where the kernel does not say."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        state = libc.adjtimex(ctypes.create_string_buffer(512))  # `struct timex` of zeros: asks, and changes nothing
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _UNSYNCHRONISED


def _memory_limit() -> int | None:
    """Of the control group (v2), where it has one."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _gpus() -> tuple[str, ...]:
    return tuple(path.name for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*")))


def _providers() -> tuple[str, ...]:
    try:
        import onnxruntime  # half a second, and a node may lack it
    except ImportError:
        return ()
    return tuple(onnxruntime.get_available_providers())
