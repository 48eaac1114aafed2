"""Versions that end the process which loads them: real processes, a real agreement, real marks on disk."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from deployments.execution.attempt import trial_of
from deployments.replicas import versions as module
from deployments.replicas.agreement import Agreement
from deployments.replicas.source import Directory
from deployments.replicas.trial import ProcessTrial
from deployments.replicas.versions import Versions
from deployments.settings import ModelSettings
from optimization.artifact.store import ArtifactError
from telemetry.emitting.emitter import Emitter
from tests.conftest import publish_tiny
from tests.deployments.replicas.shared_store import SharedStore
from tests.deployments.replicas.test_agreement import Loaded, answering, until

DEADLY = "2"
TRY = f"import os, signal, sys; sys.argv[1].endswith('/{DEADLY}') and os.kill(os.getpid(), signal.SIGSEGV)"


class Trials(ProcessTrial):
    """Trials that the version `DEADLY` does not survive; `tried` has those that began."""

    def __init__(self, folder):
        self.tried = []
        super().__init__(self.command, folder)

    def command(self, path):
        return (
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"open({str(path.parent / 'tried')!r}, 'a').write('x'); {TRY}",
            str(path),
        )


@pytest.fixture
def home(tmp_path):
    """Where versions are published, the first one being there."""
    return publish_tiny(tmp_path / "artifacts").path.parent


@pytest.fixture
def trials(tmp_path):
    (tmp_path / "trials").mkdir()
    return Trials(tmp_path / "trials")


def num_tried(home):
    tried = home / "tried"
    return len(tried.read_text()) if tried.exists() else 0


def loaded(path):
    assert path.name != DEADLY, "a replica has loaded what ends it"
    return Loaded(path)


def versions(home, trial, store=None):
    emitter = Emitter(service="tiny", version="", role="replica", instance="i", endpoint="http://127.0.0.1:9")
    agreement = Agreement(store or SharedStore(), "tiny", "i")
    source = Directory(home.parent, "tiny")
    return Versions(source, loaded, policy=None, keep=1, emitter=emitter, agreement=agreement, trial=trial)


@asynccontextmanager
async def replica(home, trial):
    running = versions(home, trial)
    running.start()
    yield running
    await running.stop()


def test_a_version_that_ends_its_process_does_not_end_the_replica_and_the_next_one_serves(home, trials, monkeypatch):
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)

    async def scenario():
        async with replica(home, trials) as running:
            assert num_tried(home) == 0  # a start costs no trial
            publish_tiny(home.parent)
            await until(lambda: running.failure(DEADLY))
            assert "SIGSEGV" in running.failure(DEADLY)
            assert answering(running) == ["1"]
            publish_tiny(home.parent)
            await until(lambda: answering(running) == ["3"])

    asyncio.run(scenario())


def test_replicas_of_one_node_try_a_version_once(home, trials):
    for _ in range(2):
        with trials.around(home / "1", beside=True):
            pass
    assert num_tried(home) == 1


def test_what_raises_in_a_trial_is_left_to_the_loading_itself(home, tmp_path):
    trial = ProcessTrial(lambda _: (sys.executable, "-I", "-S", "-c", "raise ValueError"), tmp_path)
    with pytest.raises(ArtifactError, match="as the replica says it"), trial.around(home / "1", beside=True):
        raise ArtifactError("as the replica says it")
    assert not list(tmp_path.glob("*.loading"))


def test_what_leaves_the_process_by_itself_is_no_better_than_what_crashes(home, tmp_path):
    trial = ProcessTrial(lambda _: (sys.executable, "-I", "-S", "-c", "import os; os._exit(3)"), tmp_path)
    with pytest.raises(ArtifactError, match="exit code 3"), trial.around(home / "1", beside=True):
        raise AssertionError("it was loaded")


def test_a_replica_that_starts_where_one_died_of_a_version_begins_with_the_one_before(home, trials, tmp_path):
    """Each start would end as the one before, and the model would never serve."""
    publish_tiny(home.parent)
    *command, path = trials.command(home / DEADLY)
    dies = f"""if 1:
        import os
        from pathlib import Path
        from deployments.replicas.trial import ProcessTrial
        trial = ProcessTrial(lambda path: [*{command!r}, str(path)], Path({str(tmp_path / "trials")!r}))
        with trial.around(Path({path!r}), beside=False):
            os._exit(3)
    """
    assert subprocess.run([sys.executable, "-c", dies], env=os.environ, check=False).returncode == 3
    started = versions(home, trials)
    assert answering(started) == ["1"]
    assert "SIGSEGV" in started.failure(DEADLY)


def test_a_model_is_tried_as_its_replicas_load_it(home):
    with trial_of(ModelSettings(artifact="tiny"), has_gpu=False).around(home / "1", beside=True):
        pass
    (home / "1" / "manifest.json").write_text("{}")
    command = trial_of(ModelSettings(artifact="tiny"), has_gpu=False)._command(home / "1")
    assert b"ArtifactError" in subprocess.run(command, capture_output=True, check=False).stderr
