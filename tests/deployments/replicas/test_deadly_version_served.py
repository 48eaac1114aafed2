"""`serve run`, and a published version that ends each process which loads it, as a fault in native code would."""

import os
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.servers import infer_path, processes, request_body, trimtab
from benchmarks.swaps import published, wait_for
from optimization.artifact.store import publish
from tests.conftest import publish_tiny

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

DEADLY = "deadly.txt"
HOOK = f"""
import os, signal, sys
def look(event, args):
    if event == "open" and str(args[0]).endswith("/{DEADLY}"):
        os.kill(os.getpid(), signal.SIGSEGV)
sys.addaudithook(look)
"""


def publish_deadly(artifact, folder):
    """The next version, with a file that no process of the server reads and lives."""
    (folder / DEADLY).write_text("deadly")
    manifest = artifact.manifest.model_dump(exclude={"schema_version", "version", "created", "files"})
    files = {inside: artifact.path / inside for inside in artifact.manifest.files}
    return publish(artifact.path.parents[1], files | {DEADLY: folder / DEADLY}, **manifest)


def test_a_published_version_that_ends_its_process_takes_no_replica_down_and_the_next_one_serves(tmp_path):
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    artifact = publish_tiny(tmp_path / "artifacts")
    paths = os.pathsep.join((str(tmp_path / "hook"), str(Path.cwd()), os.environ.get("PYTHONPATH", "")))
    scaling = {"min_replicas": 2, "max_replicas": 2}

    def replicas():
        return {process.pid for process, command in processes(server) if "ServeReplica:tiny:Model" in command}

    with trimtab(artifact, version=None, scaling=scaling, environment={"PYTHONPATH": paths}) as server:
        before = replicas()
        version = publish_deadly(artifact, tmp_path).manifest.version
        ready = f"{server.url}/v2/models/tiny/versions/{version}/ready"
        deadline = time.monotonic() + 60
        while "SIGSEGV" not in (said := httpx.get(ready, timeout=30).text):
            assert time.monotonic() < deadline, said
            answer = httpx.post(server.url + infer_path(artifact), content=request_body(artifact), timeout=30)
            assert answer.json()["model_version"] == artifact.manifest.version
        wait_for(server, published(artifact, tmp_path / "artifacts"))
        assert replicas() == before
