"""An artifact becomes one commit on a hub, card and all, over real HTTP."""

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from optimization.__main__ import main
from optimization.artifact import store
from optimization.artifact.manifest import FileEntry, Manifest, Measurement, Quality, TensorSpec, TextPreprocessing
from optimization.artifact.store import Artifact, ArtifactError
from optimization.sharing import card, hub

huggingface_hub = pytest.importorskip("huggingface_hub")


class Hub(BaseHTTPRequestHandler):
    """As much of a hub's API as a commit of small files takes."""

    commits: list[list[dict[str, Any]]]
    is_full = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.path.partition("?")[0].split("/")[1:]:
            case ["api", "repos", "create"]:
                self._answer(
                    {"url": f"{self.server_url}/{json.loads(body)['organization']}/{json.loads(body)['name']}"}
                )
            case ["api", "validate-yaml"]:
                self._answer({"errors": [], "warnings": []})
            case ["api", "models", _, _, "preupload", _]:
                paths = [each["path"] for each in json.loads(body)["files"]]
                self._answer(
                    {"files": [{"path": each, "uploadMode": "regular", "shouldIgnore": False} for each in paths]}
                )
            case ["api", "models", owner, name, "commit", _] if not self.is_full:
                self.commits.append([json.loads(line) for line in body.splitlines()])
                url = f"{self.server_url}/{owner}/{name}/commit/1"
                self._answer({"commitUrl": url, "commitOid": "1", "success": True})
            case _:
                self._answer({"error": "no room"}, status=403)

    @property
    def server_url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def local_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    class Own(Hub):
        commits: list[list[dict[str, Any]]] = []  # noqa: RUF012  # of this test alone

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    yield Own
    server.shutdown()
    thread.join()
    server.server_close()


def committed(of: type[Hub]) -> dict[str, bytes]:
    """The files of the only commit, by name."""
    (lines,) = of.commits
    return {
        each["value"]["path"]: base64.b64decode(each["value"]["content"]) for each in lines if each["key"] == "file"
    }


def test_a_version_is_one_commit_with_a_card(
    tiny_artifact: Artifact, local_hub: type[Hub], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(tiny_artifact.path), "hf://me/small"]) == 0
    assert capsys.readouterr().out.endswith("/me/small/commit/1\n")
    files = committed(local_hub)
    assert files[store.MODEL] == tiny_artifact.model_path.read_bytes()
    assert files[store.MANIFEST] == (tiny_artifact.path / store.MANIFEST).read_bytes()
    assert files[hub.CARD].decode() == card.write(tiny_artifact.manifest)


def test_what_the_hub_refuses_is_told(tiny_artifact: Artifact, local_hub: type[Hub]) -> None:
    local_hub.is_full = True
    with pytest.raises(ArtifactError, match=r"hf://me/small must be a repository that you may write, at http.*403"):
        hub.push(tiny_artifact.path, "hf://me/small")
    with pytest.raises(ArtifactError, match="url must be hf://OWNER/NAME, got 'hf://small'"):
        hub.push(tiny_artifact.path, "hf://small")
    assert local_hub.commits == []


def test_a_damaged_artifact_is_not_sent(tiny_artifact: Artifact, local_hub: type[Hub]) -> None:
    (tiny_artifact.path / store.MODEL).write_bytes(b"")
    with pytest.raises(ArtifactError, match="truncated or altered"):
        hub.push(tiny_artifact.path, "hf://me/small")
    assert local_hub.commits == []


def measured(step: str, value: float) -> Measurement:
    quality = Quality(metric="accuracy", value=value, low=value - 0.02, high=value + 0.02, num_samples=872)
    return Measurement(
        step=step, precision="FP32", quality=quality, num_parameters=1000, size_bytes=4096, latency_s={1: 0.002}
    )


def test_a_card_says_what_was_measured_and_how_it_is_called(tmp_path: Path) -> None:
    """Metadata that a hub reads, then classes, a table, inputs and outputs, and the recipe."""
    manifest = Manifest(
        name="sentiment",
        version="3",
        created=datetime(2026, 12, 1, tzinfo=UTC),
        parent="sentiment-teacher/1",
        task="classification",
        labels=("no", "a | `b`"),
        inputs=(TensorSpec(name="input_ids", datatype="INT64", shape=("batch", "sequence")),),
        outputs=(TensorSpec(name="probability", datatype="FP32", shape=("batch", 1), meaning="probabilities"),),
        preprocessing=TextPreprocessing(max_length=64),
        measurements=(measured("teacher", 0.9), measured("distill", 0.89)),
        recipe={"name": "sentiment", "seed": 0},
        libraries={"torch": "2.13.0"},
        files={"model.onnx": FileEntry(size_bytes=1, sha256="0" * 64)},
    )
    _, head, body = card.write(manifest).split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "onnx",
        "tags": ["onnx", "trimtab"],
        "pipeline_tag": "text-classification",
        "metrics": ["accuracy"],
    }
    assert "# sentiment 3" in body
    assert "classes, in the order of its output: `no`, `a | b`." in body
    table = [line for line in body.splitlines() if line.startswith("| ")]
    assert [line.count("|") for line in table] == [6, 6, 6]
    assert "89.0 (87.0-91.0)" in table[-1]
    assert "input_ids INT64 ['batch', 'sequence'] → probability FP32" in body
    assert "cut at 64 tokens" in body
    assert "made from sentiment-teacher/1" in body
    assert "seed: 0" in body
