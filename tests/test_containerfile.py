"""Containerfile: what can be told without building it, which needs an image that no package registry has."""

import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from containers.requirements import requirements
from deployments.manifests import pods

FILE = Path("Containerfile")
TEXT = FILE.read_text()
(WITHOUT,) = re.findall(r'^ARG WITHOUT="(.*)"$', TEXT, re.M)
MODULES = {
    "torch": "torch",
    "torch-pruning": "torch_pruning",
    "onnxscript": "onnxscript",
    "onnxslim": "onnxslim",
    "tensorboardx": "tensorboardX",
}


def test_hadolint_finds_nothing():
    hadolint = Path(sysconfig.get_path("scripts"), "hadolint")
    found = subprocess.run([hadolint, "--no-color", FILE], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_last_stage_holds_no_build_and_runs_as_the_user_of_the_pods():
    stages = re.findall(r"^FROM (\S+)", TEXT, re.M)
    assert len(stages) == 2 and len(set(stages)) == 1
    last = TEXT.rpartition("\nFROM ")[2]
    assert "pip" not in last and "apt" not in last
    assert re.findall(r"^USER (.*)$", last, re.M) == [f"{pods.USER}:{pods.USER}"]
    assert f"COPY --from=build {Path(pods.PROGRAMS).parent} " in last


def test_an_image_has_the_versions_of_this_checkout():
    listed = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    (own,) = (line for line in listed if line.startswith("onnxruntime=="))
    assert f'ARG ONNXRUNTIME="{own}"' in TEXT
    assert sorted(requirements(Path("pyproject.toml"), "", own)) == sorted(listed)
    gpu = requirements(Path("pyproject.toml"), WITHOUT, "onnxruntime-gpu==1.32.0")
    assert own not in gpu and not any(line.startswith("torch") for line in gpu)


@pytest.mark.long
def test_serving_imports_nothing_that_its_image_leaves_out():
    assert set(WITHOUT.split()) == set(MODULES)
    code = f"""
import sys
for name in {sorted(MODULES.values())}: sys.modules[name] = None  # an import of it fails
import deployments.__main__, deployments.app, optimization.artifact.trial_run, telemetry.__main__
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
