"""From a traffic file to a `serve_config.yaml` that Serve and the `serve` command accept, and what files do wrong."""

import json
import re
from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from deployments.__main__ import main
from deployments.launch import preflight
from deployments.placing.config import config, resources, start_options
from deployments.placing.traffic import chosen_nodes, read
from deployments.placing.workload import workloads
from optimization.artifact.store import publish
from tests.conftest import publish_tiny, save_tiny_model

QUALITY = {"metric": "accuracy", "value": 0.9, "low": 0.8, "high": 1.0, "num_samples": 10}
EXPECTED = {"artifact": "tiny", "requests_per_s": 50, "latency_s": {1: 0.010, 5: 0.018}, "latency_target_s": 0.1}
HERE = ("--nodes", "2", "--cpus", "2", "--memory", "4GiB", "--requests", "1000")


@pytest.fixture
def write(tmp_path):
    def write(**content):
        file = tmp_path / "traffic.yaml"
        file.write_text(yaml.safe_dump({"artifacts": str(tmp_path / "artifacts"), **content}))
        return file

    return write


@pytest.fixture
def tiny(tmp_path):
    return publish_tiny(tmp_path / "artifacts")


@pytest.fixture
def measured(tmp_path):
    """An artifact whose manifest says how long a call takes."""
    step = {"step": "distill", "quality": QUALITY, "num_parameters": 12, "size_bytes": 300}
    return publish(
        tmp_path / "artifacts",
        {"model.onnx": save_tiny_model(tmp_path / "tiny.onnx")},
        name="measured",
        inputs=[{"name": "features", "datatype": "FP32", "shape": ["batch", 4]}],
        outputs=[{"name": "probabilities", "datatype": "FP32", "shape": ["batch", 3]}],
        measurements=[
            {**step, "latency_s": {1: 9.0, 32: 9.0}, "step": "teacher"},
            {**step, "latency_s": {1: 0.01, 32: 0.041}},
        ],
    )


def loads(file, *nodes):
    traffic = read(file)
    return workloads(traffic, chosen_nodes(traffic, *(nodes or (2, 2, "4GiB"))))


def test_a_models_times_and_weights_come_from_the_manifest_of_what_is_served(write, measured):
    file = write(models=[{"artifact": "measured", "requests_per_s": 1, "latency_target_s": 1, "request_s": 0.0005}])
    (load,) = loads(file)
    assert load.duration_s(1) == pytest.approx(0.0105)
    assert load.duration_s(32) == pytest.approx(0.041 + 32 * 0.0005)
    assert load.weights_bytes == sum(each.size_bytes for each in measured.manifest.files.values())


def test_batches_are_no_larger_than_pays(write, tiny):
    """Where a call costs as much for each sample as for one alone, a session takes one at a time."""
    (flat,) = loads(write(models=[EXPECTED | {"latency_s": {1: 0.01}}]))
    (steep,) = loads(write(models=[EXPECTED | {"latency_s": {1: 0.01, 64: 0.02}}]))
    assert (flat.max_batch_size, steep.max_batch_size) == (1, 64)


def test_the_config_is_accepted_by_serve_and_by_the_serve_command(write, tiny, tmp_path):
    file = write(models=[EXPECTED])
    output = tmp_path / "serve_config.yaml"
    assert main(["place", str(file), *HERE, "--output", str(output)]) == 0
    written = yaml.safe_load(output.read_text())
    preflight.check(written, ports=False)
    schema = ServeDeploySchema.model_validate(written)
    assert [each.name for each in schema.applications] == ["tiny", "server", "telemetry"]
    args = written["applications"][0]["args"]
    assert args["latency_target_s"] == 0.1
    assert args["scaling"]["min_replicas"] == args["scaling"]["max_replicas"] >= 1


def test_what_is_no_model_is_as_in_the_config_that_is_shipped(write, tiny):
    traffic = read(write(models=[EXPECTED]))
    ours = config(traffic, chosen_nodes(traffic, 1, 1, "4GiB"), ((1,),))
    shipped = yaml.safe_load(Path("serve_config.yaml").read_text())
    for each in (ours, shipped):
        each["applications"] = [one for one in each["applications"] if not one["import_path"].endswith(":model")]
    assert ours == shipped


def of_first_two(written):
    return [one["deployments"][0] for one in written["applications"][:2]]


def test_what_is_alike_on_all_nodes_needs_no_resource(write):
    traffic = read(write(models=[EXPECTED, EXPECTED | {"artifact": "other"}]))
    nodes = chosen_nodes(traffic, 2, 2, "4GiB")
    deployments = of_first_two(config(traffic, nodes, ((1, 1), (2, 2))))
    assert [one["max_replicas_per_node"] for one in deployments] == [1, 2]
    assert [one["ray_actor_options"] for one in deployments] == [{"num_cpus": 0.6666}, {"num_cpus": 0.6666}]
    assert start_options(traffic, nodes, ((1, 1), (2, 2))) == {}


def test_what_is_not_alike_is_bound_to_its_nodes_by_a_resource(write):
    traffic = read(write(models=[EXPECTED, EXPECTED | {"artifact": "other"}]))
    nodes = chosen_nodes(traffic, 2, 2, "4GiB")
    placement = ((2, 1), (0, 1))
    first, second = of_first_two(config(traffic, nodes, placement))
    assert first["ray_actor_options"] == {"num_cpus": 1.0, "resources": {"replicas-of-tiny": 1}}
    assert second["ray_actor_options"] == {"num_cpus": 1.0, "resources": {"replicas-of-other": 1}}
    assert resources(traffic, nodes, placement) == {
        "node-1": {"replicas-of-tiny": 2},
        "node-2": {"replicas-of-tiny": 1, "replicas-of-other": 1},
    }
    assert start_options(traffic, nodes, placement)["node-1"] == "--resources='{\"replicas-of-tiny\": 2}'"


def test_the_proposal_as_json_and_as_tables(write, tiny, capsys):
    file = write(models=[EXPECTED])
    assert main(["place", str(file), *HERE, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = ["proposed", "each model on one node", "all models on all nodes"]
    assert [each["placement"] for each in told["compared"]] == names
    (model,) = told["compared"][0]["models"]
    assert 0.99 <= model["within_target"] <= 1
    assert model["p50_s"] <= model["p99_s"] <= 0.1
    assert main(["place", str(file), *HERE]) == 0
    shown = capsys.readouterr().out
    assert "tiny" in shown
    assert "each model on one" in shown


def test_a_goal_that_no_placement_keeps_is_said(write, tiny, capsys):
    file = write(models=[EXPECTED | {"requests_per_s": 5000}])
    assert main(["place", str(file), *HERE]) == 0
    assert "no placement was found that answers 99 %" in capsys.readouterr().out


def test_an_output_that_exists_is_left_alone(write, tiny, tmp_path, capsys):
    output = tmp_path / "serve_config.yaml"
    output.write_text("mine")
    assert main(["place", str(write(models=[EXPECTED])), *HERE, "--output", str(output)]) == 2
    assert "--output must name a new file" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main(["place", str(write(models=[EXPECTED])), *HERE, "--output", str(tmp_path / "none" / "new.yaml")]) == 2
    assert "--output must lie in a folder" in capsys.readouterr().err


WRONG = {
    "no models": ({"models": []}, r"traffic.yaml\.models: .*at least 1 item"),
    "an unknown key": ({"models": [EXPECTED], "node": 2}, r"traffic.yaml\.node: Extra inputs"),
    "no rate": ({"models": [{"artifact": "tiny"}]}, r"models\.0\.requests_per_s: Field required"),
    "a negative rate": (
        {"models": [EXPECTED | {"requests_per_s": -1}]},
        r"models\.0\.requests_per_s: .*greater than 0, got -1",
    ),
    "a rate that is no number": ({"models": [EXPECTED | {"requests_per_s": float("nan")}]}, r"requests_per_s: "),
    "a latency of none": ({"models": [EXPECTED | {"latency_s": {0: 0.1}}]}, r"latency_s"),
    "a model twice": ({"models": [EXPECTED, EXPECTED]}, "models must name each once, got tiny again"),
    "no target": (
        {"models": [{**EXPECTED, "latency_target_s": None}]},
        "model 'tiny': latency_target_s must be given",
    ),
    "a target that is impossible": (
        {"models": [EXPECTED | {"latency_target_s": 0.001}]},
        r"model 'tiny': latency_target_s must be at least 0\.0101.*got 0\.001",
    ),
    "a model that is unknown": (
        {"models": [{"artifact": "ghost", "requests_per_s": 1, "latency_target_s": 1}]},
        "artifact 'ghost' is missing",
    ),
    "a manifest without latency": (
        {"models": [{"artifact": "tiny", "requests_per_s": 1, "latency_target_s": 1}]},
        r"model 'tiny': latency_s must be given, seconds by batch size: no recipe measured version 1",
    ),
    "threads that were not measured": (
        {"models": [{"artifact": "measured", "requests_per_s": 1, "latency_target_s": 1, "num_threads": 2}]},
        r"model 'measured': latency_s must be given for num_threads 2",
    ),
    "more threads than CPUs": ({"models": [EXPECTED | {"num_threads": 3}]}, "num_threads must be at most 2"),
    "weights that fit nowhere": (
        {"models": [EXPECTED | {"weights": "9GiB"}]},
        r"model 'tiny' must fit a node: it needs 9366 MiB, the largest node, 'node-1', has 4096 MiB",
    ),
    "requests larger than a batch": (
        {"models": [EXPECTED | {"samples": 65}]},
        "samples must be at most max_batch_size, 64, got 65",
    ),
    "nodes twice": (
        {"models": [EXPECTED], "nodes": [{"name": "a", "cpus": 1, "memory": "1GiB"}]},
        "nodes must be given once",
    ),
}


@pytest.mark.parametrize("content, message", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named(write, tiny, measured, capsys, content, message):
    assert main(["place", str(write(**content)), *HERE]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert re.search(message, told), told


def test_nodes_that_lack_are_named(write, tiny, capsys):
    assert main(["place", str(write(models=[EXPECTED])), "--nodes", "2"]) == 2
    assert "nodes must be given, in the file or by --nodes, --cpus and --memory: --cpus, --memory lack" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("content", ["[1, 2]", "models: [", b"\xff\xfe"])
def test_a_file_that_is_no_mapping_is_named(tmp_path, capsys, content):
    file = tmp_path / "traffic.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["place", str(file), *HERE]) == 2
    assert str(file) in capsys.readouterr().err
    assert main(["place", str(tmp_path / "none.yaml"), *HERE]) == 2
    assert "cannot be read" in capsys.readouterr().err
