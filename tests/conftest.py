"""What several packages' tests share: a tiny real model, free ports, and a word on what was left out."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: small models gain nothing from more threads

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, settings
from onnx import TensorProto, helper, numpy_helper
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from benchmarks.servers import free_port
from optimization.artifact.store import Artifact, publish

__all__ = ["free_port"]

settings.register_profile("any processor", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
"""No example is judged by how long it takes, and one that fails can be tried anywhere."""
settings.load_profile("any processor")

WEIGHTS = np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5], [1.0, 1.0, 1.0], [-1.0, 0.5, 0.0]], dtype=np.float32)


def expected_probabilities(features: np.ndarray) -> np.ndarray:
    """What the tiny model computes, in numpy."""
    logits = features @ WEIGHTS
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def save_tiny_model(path: Path) -> Path:
    """A softmax regression of 4 features to 3 classes, as one ONNX file."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


def publish_tiny(root: Path, name: str = "tiny") -> Artifact:
    """The tiny model as an artifact under `root`."""
    root.mkdir(parents=True, exist_ok=True)
    model = save_tiny_model(root / "tiny-source.onnx")
    return publish(
        root,
        {"model.onnx": model},
        name=name,
        inputs=[{"name": "features", "datatype": "FP32", "shape": ["batch", 4]}],
        outputs=[{"name": "probabilities", "datatype": "FP32", "shape": ["batch", 3]}],
        labels=["a", "b", "c"],
    )


@pytest.fixture
def tiny_artifact(tmp_path: Path) -> Artifact:
    """A published artifact of the tiny model."""
    return publish_tiny(tmp_path / "artifacts")


_STATE = tempfile.TemporaryDirectory(prefix="trimtab-state-")


def pytest_configure() -> None:
    """Let the programs under test hear Ctrl-C, though a shell that starts pytest in the background makes it deaf; what
    their collectors keep is not the user's.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["XDG_STATE_HOME"] = _STATE.name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly which tests were left out, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons: dict[str, int] = {}
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in reasons.items():
        terminalreporter.write_line(f"LEFT OUT {count} test{'s' * (count > 1)}: {reason}", yellow=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the fast tests first, the ones that start Ray last."""
    items.sort(key=lambda item: sum(item.get_closest_marker(name) is not None for name in ("slow", "ray", "browser")))


_SERVERS = ("test_", "telemetry/page/", "optimization/networks/")


class ThreeProcesses(LoadScopeScheduling):
    """Servers and browsers, what makes models small, and the rest have a process each, whatever the number of cores.

    All three take about as long, for which `networks` is with the servers, and start Ray at different times: several
    starts of Ray on two cores last longer than Ray waits for them. (xdist's own groups are lost on the pytest that is
    pinned.)
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.removeprefix("tests/")
        if path.startswith(_SERVERS):
            return "servers"
        return "optimization" if path.startswith("optimization/") else "rest"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ThreeProcesses:
    """Of `pytest -n 3`, as `make test` calls it."""
    return ThreeProcesses(config, log)


def chromium() -> str | None:
    """Path of the browser, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
