"""A run that is killed goes on where it stood, from the command line."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from optimization.artifact import store

SEED = Path("optimization/recipes") / "seed.yaml"
PATIENCE_S = 240


def begin(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a run in a process group of its own, so that all of it can be killed."""
    command = [
        sys.executable,
        "-m",
        "optimization",
        str(folder / "recipe.yaml"),
        "--artifacts",
        str(folder / "artifacts"),
    ]
    command += ["--runs", str(folder / "runs"), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def write(folder: Path, **changed: object) -> None:
    """The seed recipe on one worker, its teacher slow enough to be killed in mid-training."""
    raw = yaml.safe_load(SEED.read_text()) | {"workers": 1} | changed
    raw["teacher"]["training"] |= {"epochs": 60, "batch_size": 8}
    raw["steps"] = [step for step in raw["steps"] if step["kind"] != "quantize"]
    raw["steps"][0]["training"]["epochs"] = 5
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw))


def final_quality(folder: Path) -> float:
    return store.load(store.find(folder / "artifacts", "seed")).manifest.measurements[-1].quality.value


def final_model(folder: Path) -> bytes:
    return store.load(store.find(folder / "artifacts", "seed")).model_path.read_bytes()


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(4 * PATIENCE_S)
def test_a_killed_run_resumes_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    write(tmp_path)
    killed = begin(tmp_path)
    began = time.monotonic()
    while not list(tmp_path.glob("runs/checkpoints/*/epoch.checkpoint")):
        assert killed.poll() is None, killed.communicate()[0]
        assert time.monotonic() - began < PATIENCE_S
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "artifacts").exists(), "it was killed after its end: the test shows nothing"
    assert len(list(tmp_path.glob("runs/checkpoints/*"))) == 1, "the teacher's"

    resumed = begin(tmp_path)
    said, _ = resumed.communicate(timeout=PATIENCE_S)
    assert resumed.returncode == 0, said
    assert "teacher: goes on from its last epoch" in said
    assert not list(tmp_path.glob("runs/checkpoints/*/epoch.checkpoint")), "what is done needs them no more"
    quality, weights = final_quality(tmp_path), final_model(tmp_path)

    undisturbed = begin(tmp_path, "--fresh")
    said, _ = undisturbed.communicate(timeout=PATIENCE_S)
    assert undisturbed.returncode == 0, said
    assert final_quality(tmp_path) == quality
    assert final_model(tmp_path) == weights, "bit for bit, on one worker"


@pytest.mark.ray
@pytest.mark.long
def test_a_diverging_run_names_the_setting_and_leaves_no_artifact(tmp_path: Path) -> None:
    write(tmp_path)
    raw = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    raw["teacher"]["training"]["learning_rate"] = 1e30
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))
    ended = begin(tmp_path)
    said, _ = ended.communicate(timeout=PATIENCE_S)
    assert ended.returncode == 2
    assert re.search(r"the loss of 'teacher' must stay finite, got (nan|inf) in epoch 1: lower the learning_rate", said)
    assert not (tmp_path / "artifacts").exists()
