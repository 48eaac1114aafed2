"""A version that ends the process which loads it: it is tried apart from what serves, and remembered.

    beside what serves: tried in a process of its own -> it lives -> loaded here; on this node it is not tried again
                                                      -> it dies  -> ArtifactError; what serves stays
    at a start:         loaded at once, with a mark   -> the mark goes with it; one that a dead process has left
                                                         says that the version is to be tried first

Exceptions are no reason to fail a trial: loading in the replica raises the same, and says it better. Marks are locked
by those that load (flock), so that the lock of a process that died is free.
"""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from optimization.artifact.store import MANIFEST, ArtifactError

TRIAL_S = 600.0
"""A trial that has not ended after so long fails."""
KEPT = 1000
"""Versions, at most, that a node remembers."""
_RAISED = 1
"""Python's exit code where something was raised."""
_SOUND, _LOADING, _TRYING = ".sound", ".loading", ".trying"


class Trial(Protocol):
    """What stands around the loading of a version."""

    def around(self, path: Path, *, beside: bool) -> AbstractContextManager[None]:
        """Load the version at `path` within; `beside` says that this process serves something.

        Raises:
            ArtifactError: the version ends the process that loads it.
        """


class NoTrial:
    """Every version is loaded at once."""

    def around(self, _: Path, *, beside: bool) -> AbstractContextManager[None]:  # noqa: ARG002 - as `Trial` has it
        """Nothing."""
        return nullcontext()


class ProcessTrial:
    """Trials by a command of one's own; what came of them is remembered in `folder`, which a node's replicas share."""

    def __init__(self, command: Callable[[Path], Sequence[str]], folder: Path | None) -> None:
        """`command` gives what loads a version, given its directory; without a `folder` nothing is remembered."""
        self._command = command
        self._folder = folder

    @contextmanager
    def around(self, path: Path, *, beside: bool) -> Iterator[None]:
        """As `Trial` has it."""
        command = list(self._command(path))
        if self._folder is None:
            if beside:
                _try(command)
            yield
            return
        key = self._folder / _key(path, command)
        if self._is_due(key, beside=beside):
            with _locked(key.with_suffix(_TRYING)):  # replicas of one node wait for the first that tries
                if self._is_due(key, beside=beside):
                    _try(command)
                    key.with_suffix(_LOADING).unlink(missing_ok=True)
                    key.with_suffix(_SOUND).touch()
                    self._forget_oldest()
        loading = key.with_suffix(_LOADING)
        with loading.open("a") as mark:
            fcntl.flock(mark, fcntl.LOCK_SH)
            try:
                yield
            finally:  # whatever came of it, this process lives
                loading.unlink(missing_ok=True)

    def _is_due(self, key: Path, *, beside: bool) -> bool:
        """Whether a trial is to come before the version is loaded here."""
        return (beside and not key.with_suffix(_SOUND).exists()) or _has_ended_a_process(key.with_suffix(_LOADING))

    def _forget_oldest(self) -> None:
        assert self._folder is not None, "asked of what remembers"
        found = sorted(self._folder.glob(f"*{_SOUND}"), key=lambda file: file.stat().st_mtime)
        for file in found[:-KEPT]:
            for suffix in (_SOUND, _TRYING):
                file.with_suffix(suffix).unlink(missing_ok=True)


def _key(path: Path, command: Sequence[str]) -> str:
    """What tells this version, loaded in this way, from others: its manifest has the digests of all its files."""
    of = hashlib.sha256((path / MANIFEST).read_bytes())
    of.update("\0".join(word for word in command if word != str(path)).encode())
    return of.hexdigest()[:32]


def _try(command: Sequence[str]) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        ended = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, timeout=TRIAL_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(f"loading it must end within {TRIAL_S:.0f} s, which a trial did not") from error
    if ended.returncode not in (0, _RAISED):
        how = signal.Signals(-ended.returncode).name if ended.returncode < 0 else f"exit code {ended.returncode}"
        raise ArtifactError(f"loading it must not end the process, got {how} from one that tried")


def _has_ended_a_process(mark: Path) -> bool:
    try:
        with mark.open("r+") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):  # nobody has begun, or somebody is loading it now
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
