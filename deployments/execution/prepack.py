"""One copy of a model's weights per node: optimised and packed for this CPU once, in a file that all replicas map.

    model.onnx -> ONNX Runtime optimises and packs -> <cache>/<key>/{model.onnx, weights} -> every session maps the file

Packing lays weights out as the CPU's kernels read them. A plain session does that in memory of its own, so each replica
pays for the weights again, and it takes longer to start. The packed file suits this CPU and this version of ONNX
Runtime only: both are part of the key.
"""

import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnxruntime

from deployments.execution.local_storage import is_local, local_folder
from optimization.artifact.manifest import Part
from optimization.artifact.store import MODEL, Artifact

logger = logging.getLogger(__name__)

WORTH_BYTES = 2**20
"""A smaller model gains less than the pages that mapping rounds up to."""
KEPT = 16
"""Packed models that stay in the cache; a mapped one that is removed stays valid until its last session ends."""

_WEIGHTS = "weights"
_SIZES = "sizes.json"
"""What each file's size was when it was written."""
_EMBEDDED_BYTES = "1024"
"""Smaller tensors stay in the graph: ONNX Runtime reads shapes from there while it loads."""


class PackError(Exception):
    """ONNX Runtime cannot write this model's weights packed."""


def cache_folder() -> Path:
    """Where packed models lie: `trimtab` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab" / "packed"


def packed(artifact: Artifact, part: Part, cache: Path) -> Path | None:
    """The packed form of that part of the artifact, made now unless it exists; none where it does not pay or work."""
    entries = [artifact.manifest.files[name] for name in part.files]
    if sum(entry.size_bytes for entry in entries) < WORTH_BYTES:
        return None
    folder = cache if is_local(cache) else _elsewhere(artifact, cache)
    if folder is None:
        return None
    home = folder / _key([entry.sha256 for entry in entries])
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder / f"{home.name}.lock"):
            if home.is_dir() and not _is_whole(home):
                logger.warning("model %s: %s is damaged and packed anew", artifact.manifest.name, home)
                shutil.rmtree(home)
            if not home.is_dir():
                _pack(artifact.path / part.file, home)
                _forget_oldest(folder)
            os.utime(home)
    except OSError as error:
        logger.warning("model %s: no packed copy of its weights: %s", artifact.manifest.name, error)
        return None
    except PackError as error:
        logger.warning("model %s: its weights cannot be packed: %s", artifact.manifest.name, error)
        return None
    return home / MODEL


def _elsewhere(artifact: Artifact, cache: Path) -> Path | None:
    """Where the packed copy lies if `cache` is not on this machine's own storage; none if there is no such place."""
    name = artifact.manifest.name
    folder = local_folder("trimtab-packed")
    if folder is None:
        logger.warning("model %s: no packed copy of its weights: %s is shared, and no folder is local", name, cache)
    else:
        logger.info("model %s: %s is shared with other machines: its packed copy lies in %s", name, cache, folder)
    return folder


def _key(digests: Sequence[str]) -> str:
    model = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    cpu = hashlib.sha256(_cpu().encode()).hexdigest()[:12]
    return f"{model[:32]}-{cpu}-{onnxruntime.__version__}"


def _cpu() -> str:
    """What tells this CPU's kernels from another's: its name and what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _pack(model: Path, home: Path) -> None:
    """Pack in a process of its own, since what packing takes would stay with this one."""
    staging = Path(tempfile.mkdtemp(prefix=".packing-", dir=home.parent))
    try:
        command = [sys.executable, "-m", __name__, str(model), str(staging)]
        paths = os.pathsep.join(path for path in sys.path if path)
        made = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise PackError(made.stderr.strip().rpartition("\n")[2])
        sizes = {file.name: file.stat().st_size for file in staging.iterdir()}
        (staging / _SIZES).write_text(json.dumps(sizes))
        for file in staging.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        staging.rename(home)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_whole(home: Path) -> bool:
    """Whether all files are as long as they were written: to read past the end of a mapped one kills the process."""
    try:
        sizes = json.loads((home / _SIZES).read_text())
        return all((home / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _write(model: Path, home: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the file suits this CPU only, which is what we want
    options.optimized_model_filepath = str(home / MODEL)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", _EMBEDDED_BYTES)
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _forget_oldest(cache: Path) -> None:
    homes = sorted((path for path in cache.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for home in homes[:-KEPT]:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`: of the replicas that start together, one packs and the others wait."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    _write(Path(sys.argv[1]), Path(sys.argv[2]))
