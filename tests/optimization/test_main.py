import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from optimization.__main__ import main
from optimization.artifact import store
from optimization.artifact.manifest import Provenance, TensorSpec
from optimization.identity import code, named, up_to_date
from optimization.recipe import recipe

SEED = Path("optimization/recipes") / "seed.yaml"


def call(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "optimization", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def call_here(capsys: pytest.CaptureFixture[str], *words: object) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has loaded torch already."""
    code = main([*map(str, words)])
    said = capsys.readouterr()
    return subprocess.CompletedProcess(words, code, said.out, said.err)


def matmul(path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_every_problem_of_a_recipe_is_printed_before_anything_runs(tmp_path: Path) -> None:
    raw = yaml.safe_load(SEED.read_text())
    raw["steps"][1]["threshold"] = -1
    raw["workers"] = 0
    raw["data"]["kid"] = "digits"
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(raw))
    ended = call(path, "--artifacts", tmp_path / "artifacts")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "workers must be a whole number of at least 1, got 0",
        "data has an unknown setting 'kid', did you mean 'kind'?",
        "sparsify.threshold must be greater than 0, got -1",
    ]
    assert ended.stdout == ""
    assert not (tmp_path / "artifacts").exists()


def test_files_of_a_recipe_that_are_not_there_are_named_before_anything_runs(tmp_path: Path) -> None:
    raw = yaml.safe_load(SEED.read_text())
    raw["data"] = {"kind": "table", "train": "none.csv", "label": "y", "features": ["x"]}
    path = tmp_path / "lacking.yaml"
    path.write_text(yaml.safe_dump(raw))
    ended = call(path, "--dry-run")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "data.train must exist, got 'none.csv'\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.yaml"], "none.yaml cannot be read: No such file or directory"),
        (["run", "."], ". cannot be read: Is a directory"),
        (["inspect", "none"], "none/manifest.json cannot be read"),
        (["publish", "none.onnx", "--name", "toy"], "none.onnx must be an ONNX file, got no file"),
        (["publish", "none.onnx"], "the following arguments are required: --name"),
        ([], "the following arguments are required: VERB"),
    ],
)
def test_wrong_call_ends_with_code_2_and_one_message(words: list[str], message: str) -> None:
    ended = call(*words)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_dry_run_prints_the_plan_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = call_here(capsys, SEED, "--dry-run", "--artifacts", tmp_path / "artifacts", "--runs", tmp_path / "runs")
    assert ended.returncode == 0
    assert all(word in ended.stdout for word in ("teacher", "distill", "sparsify", "quantize", "0.01"))
    assert re.search(r"time +about [\d.]+ (s|min) in all", ended.stdout)
    assert not list(tmp_path.iterdir())


def test_dry_run_finds_what_only_building_the_models_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = yaml.safe_load(SEED.read_text())
    raw["teacher"]["model"]["weights"] = "none.safetensors"
    path = tmp_path / "lacking.yaml"
    path.write_text(yaml.safe_dump(raw))
    ended = call_here(capsys, path, "--dry-run")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("weights none.safetensors cannot be read: No such file or directory")


def test_published_recipe_is_up_to_date_without_torch_or_ray(tmp_path: Path) -> None:
    publish(tmp_path, recipe.load(SEED))
    program = (
        "import sys; from optimization.__main__ import main; code = main(sys.argv[1:]);"
        "print({'torch', 'ray', 'sklearn', 'onnxruntime'} & set(sys.modules)); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, str(SEED), "--artifacts", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "up to date" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("change", ["damaged", "other recipe"])
def test_artifact_that_is_damaged_or_of_another_recipe_is_not_up_to_date(tmp_path: Path, change: str) -> None:
    wanted = recipe.load(SEED)
    published = publish(tmp_path, wanted)
    assert up_to_date.find(wanted, tmp_path)[0] == published
    if change == "damaged":
        published.model_path.write_bytes(b"")
    else:
        publish(tmp_path, wanted.model_copy(update={"seed": 1}))
    found, reason = up_to_date.find(wanted, tmp_path)
    assert found is None
    assert ("truncated" if change == "damaged" else "the recipe is not that of version 2") in reason


def test_any_onnx_file_becomes_an_artifact(tmp_path: Path) -> None:
    ended = call("publish", matmul(tmp_path / "m.onnx"), "--name", "toy", "--artifacts", tmp_path)
    assert ended.returncode == 0, ended.stderr
    manifest = store.load(tmp_path / "toy" / "1").manifest
    assert manifest.inputs[0].shape == ("batch", 4)
    assert manifest.recipe is None
    assert "x FP32 ['batch', 4] → y FP32 ['batch', 4]" in call("inspect", tmp_path / "toy" / "1").stdout


def test_inspect_refuses_a_damaged_artifact(tmp_path: Path) -> None:
    published = publish(tmp_path, recipe.load(SEED))
    published.model_path.write_bytes(published.model_path.read_bytes()[:-1])
    ended = call("inspect", published.path)
    assert ended.returncode == 2
    assert "truncated or altered" in ended.stderr


def publish(root: Path, wanted: recipe.Recipe) -> store.Artifact:
    spec = (TensorSpec(name="x", datatype="FP32", shape=("batch", 4)),)
    return store.publish(
        root, {store.MODEL: matmul(root / "m.onnx")},
        name=wanted.name, recipe_sha256=wanted.sha256, inputs=spec, outputs=spec,
        provenance=Provenance(named=named.digests(wanted), held_out_sha256="0" * 64, code_sha256=code.own()),
    )  # fmt: skip


@pytest.mark.parametrize("change", ["nothing", "the data", "what the manifest says"])
def test_a_recipe_whose_data_changed_is_not_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.csv").write_text("x,y\n1,a\n2,b\n")
    raw = yaml.safe_load((Path(__file__).parents[2] / SEED).read_text())
    wanted = recipe.parse(raw | {"data": {"kind": "table", "train": "train.csv", "label": "y"}})
    published = publish(tmp_path, wanted)
    if change == "the data":
        (tmp_path / "train.csv").write_text("x,y\n1,a\n2,a\n")
    elif change == "what the manifest says":
        manifest = json.loads((published.path / store.MANIFEST).read_text()) | {"provenance": None}
        (published.path / store.MANIFEST).write_text(json.dumps(manifest))
    found, reason = up_to_date.find(wanted, tmp_path)
    assert (found is not None) is (change == "nothing")
    assert {
        "nothing": "neither the recipe nor what it names has changed",
        "the data": "what data.train names is not as it was for version 1",
        "what the manifest says": "version 1 does not say what data it was made of",
    }[change] in reason
