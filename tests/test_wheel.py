"""The wheel: all of the packages are in it, and it works where nothing else of the checkout is.

Its environment is empty but for the dependencies, which a `.pth` file takes from the environment of the tests: to
install them anew takes minutes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from benchmarks.servers import wait_until_ready
from tests.conftest import free_port

PACKAGES = ("optimization", "deployments", "telemetry")
RECIPE = """
name: tiny
data: {kind: breast_cancer, num_features: 8}
teacher: {onnx: tiny.onnx}
steps: [{kind: quantize, calibration_samples: 32, publish: always}]
"""
"""Starts no Ray: the server that follows does."""


def save_model(path):
    """A logistic regression of eight features."""
    weights = np.linspace(-1, 1, 8, dtype=np.float32).reshape(8, 1)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the checkout, built from a copy of it."""
    folder = tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(package, folder / "source" / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(file, folder / "source" / file)
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "made", "./source"]
    subprocess.run([sys.executable, *build], cwd=folder, check=True, timeout=120)
    (made,) = (folder / "made").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of an environment that has Trimtab from the wheel alone."""
    home = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = home / "bin" / "python"
    install = ["-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, *install], check=True, timeout=120)
    return python


def call(*command, cwd, **options):
    """Run outside of the checkout, which no variable points at."""
    return subprocess.run(command, cwd=cwd, env=outside(), check=True, timeout=120, **options)


def outside():
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


@contextmanager
def serving(serve, config, url, folder):
    """`serve run config` until the block ends."""
    command = [str(serve), "run", str(config), "--address", "local"]
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=outside(), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_until_ready(process, log, f"{url}/v2/health/ready")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(90)


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], capture_output=True, text=True, check=True).stdout
    assert {"optimization/recipes/digits.yaml", "telemetry/page/index.html"} <= set(tracked.split())
    assert sorted(set(tracked.split()) - set(zipfile.ZipFile(wheel).namelist())) == []


@pytest.mark.slow
@pytest.mark.ray
def test_the_wheel_runs_a_recipe_and_serves_its_artifact_where_nothing_else_is(installed, tmp_path):
    where = f"import {', '.join(PACKAGES)}; print(optimization.__file__)"
    told = call(installed, "-c", where, cwd=tmp_path, capture_output=True, text=True).stdout
    assert Path(told.strip()).is_relative_to(installed.parents[1])
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    save_model(tmp_path / "tiny.onnx")
    call(installed, "-m", "optimization", "tiny.yaml", cwd=tmp_path)
    manifest = json.loads((tmp_path / "artifacts" / "tiny" / "1" / "manifest.json").read_text())
    assert [each["step"] for each in manifest["measurements"]][-1] == "quantize"

    config = yaml.safe_load(Path("serve_config.yaml").read_text())
    port, config["grpc_options"]["port"] = free_port(), free_port()
    config["http_options"]["port"] = port
    model, server, _ = config["applications"]
    model |= {"name": "tiny", "route_prefix": "/v2/models/tiny", "args": {"artifact": "tiny"}}
    config["applications"] = [model, server]
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{port}"
    with serving(installed.parent / "serve", tmp_path / "serve.yaml", url, tmp_path):
        features = {"name": "features", "datatype": "FP32", "shape": [1, 8], "data": [0.0] * 8}
        answer = httpx.post(f"{url}/v2/models/tiny/infer", json={"inputs": [features]})
    assert answer.status_code == 200, answer.text
