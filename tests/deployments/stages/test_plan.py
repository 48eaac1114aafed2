"""What `serve run` says of a pipeline before Ray starts, and what the whole is called as."""

import pytest

from deployments.errors import SettingsError
from deployments.launch import preflight
from deployments.settings import parse
from deployments.stages.declared import PipelineSettings
from deployments.stages.plan import planned
from optimization.artifact.store import ArtifactError
from tests.conftest import free_port, publish_tiny
from tests.parts import WIDTH, publish_two_parts

FEATURES = {"name": "features", "datatype": "FP32", "shape": ["batch", 4]}
PROBABILITIES = {"name": "probabilities", "datatype": "FP32", "shape": ["batch", 3]}
SCALE = {
    "name": "scale",
    "call": "tests.deployments.stages.functions:double",
    "takes": [FEATURES],
    "gives": [FEATURES],
}
MODEL = {"name": "model", "artifact": "tiny", "inputs": {"features": "scale.features"}}


def settings(root, *stages, outputs=None, **changes):
    args = {"pipeline": "p", "artifacts": str(root), "stages": list(stages)} | changes
    return args | {"outputs": outputs or {"probabilities": "model.probabilities"}}


def check(args, **changes):
    name = args.get("pipeline") or args["artifact"]
    application = {"name": name, "route_prefix": f"/v2/models/{name}", "import_path": "deployments.app:pipeline"}
    preflight.check(
        {
            "http_options": {"host": "127.0.0.1", "port": free_port()},
            "applications": [application | {"args": args} | changes],
        }
    )


def test_a_pipeline_is_called_as_one_model_whose_ends_are_its_own(tiny_artifact):
    root = tiny_artifact.path.parents[1]
    args = settings(root, MODEL, SCALE)
    check(args)
    plan = planned(parse(PipelineSettings, args, "args"))
    assert [spec.model_dump() for spec in plan.manifest.inputs] == [FEATURES | {"shape": ("batch", 4), "meaning": None}]
    assert [spec.name for spec in plan.manifest.outputs] == ["probabilities"]
    assert plan.manifest.labels == ("a", "b", "c")
    assert plan.manifest.name == "p"


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([MODEL], r"application 'p': args: stages\.model\.inputs\.features: stages are model, got 'scale\.features'"),
        ([MODEL | {"inputs": {}, "part": 3}], r"stages\.model\.part must be at most 1, the graphs of 'tiny', got 3"),
        (
            [MODEL, SCALE | {"inputs": {"features": "model.probabilities"}}],
            r"args: stages: each must come before those that it feeds, got the cycle",
        ),
        (
            [MODEL, SCALE | {"gives": [FEATURES | {"shape": ["batch", 5]}]}],
            r"stages\.model\.inputs\.features: it must be FP32 of \['batch', 4\], and scale\.features is FP32 of",
        ),
        (
            [MODEL, SCALE | {"call": "no.such:thing"}],
            r"stages\.scale\.call must name a function that can be imported",
        ),
        (
            [MODEL, SCALE | {"call": "json:no_such"}],
            r"stages\.scale\.call must name a function, and module 'json' has",
        ),
        (
            [MODEL | {"settings": {"num_threads": 0}}, SCALE],
            r"stages\.model\.settings\.num_threads: .*greater than or equal to 1, got 0",
        ),
        (
            [MODEL | {"settings": {"scaling": {"min_replicas": 0}}}, SCALE],
            r"stages\.model\.settings\.scaling\.min_replicas must be at least 1, got 0",
        ),
        ([MODEL, SCALE | {"settings": {"cache_bytes": 1}}], r"settings of it are .*; got cache_bytes"),
        (
            [MODEL | {"own_replicas": False, "settings": {"accelerator": "gpu"}}, SCALE],
            "accelerator is for a stage with",
        ),
        ([MODEL | {"name": "Model"}, SCALE], "name must not be 'Model'"),
        (
            [MODEL, SCALE, {"name": "again", "artifact": "tiny", "settings": {"version": 1}}],
            r"stages\.again\.settings\.version must be that of stage 'model', since both are of one artifact: None",
        ),
    ],
)
def test_what_does_not_fit_is_named_before_ray_starts(tiny_artifact, stages, said):
    with pytest.raises(SettingsError, match=said):
        check(settings(tiny_artifact.path.parents[1], *stages))


def test_an_artifact_that_is_missing_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="artifact 'tiny' is missing"):
        check(settings(tmp_path, MODEL, SCALE))


def test_an_application_bears_its_pipelines_name(tiny_artifact):
    with pytest.raises(SettingsError, match="application 'other': name must be 'p', as its args name 'p', got 'other'"):
        check(settings(tiny_artifact.path.parents[1], MODEL, SCALE), name="other")


def test_an_artifact_of_several_graphs_needs_no_more_than_its_name(tmp_path):
    artifact = publish_two_parts(tmp_path)
    name, root = artifact.manifest.name, str(artifact.path.parents[1])
    check({"artifact": name, "artifacts": root})
    plan = planned(parse(PipelineSettings, {"artifact": name, "artifacts": root}, "args"))
    assert plan.graph.order == (("part-1",), ("part-2",))
    assert [stage.declared.own_replicas for stage in plan.stages.values()] == [False, True]
    assert plan.graph.inputs[0].shape == ("batch", WIDTH)
    assert plan.graph.outputs == artifact.manifest.outputs
    publish_tiny(tmp_path / "others")
    with pytest.raises(SettingsError, match=r"args\.artifact must have several graphs, and 'tiny' has one"):
        check({"artifact": "tiny", "artifacts": str(tmp_path / "others")})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"yes": {"when": "look.yes"}}, r"outputs\.y: yes\.y is there only for some rows"),
        (
            {"yes": {"when": "look.yes"}, "no": {"when": "look.yes"}},
            r"outputs\.y: of two tensors, one stage must be asked when and the other unless the same is true",
        ),
        ({"yes": {"when": "no.y"}}, r"stages\.yes\.when: it must be BOOL of \['batch'\], and no\.y is FP32"),
        ({"yes": {"when": "look.yes"}, "no": {"unless": "look.yes", "inputs": {"x": "yes.y"}}}, "only for some rows"),
        ({"yes": {"when": "look.yes", "unless": "look.yes"}}, "one condition: when or unless"),
    ],
)
def test_branches_that_leave_rows_without_an_answer_are_named(change, said):
    x, y = ({"name": name, "datatype": "FP32", "shape": ["batch", 4]} for name in "xy")
    gate = {"name": "yes", "datatype": "BOOL", "shape": ["batch"]}
    calls = "tests.deployments.stages.functions:"
    stages = [
        {"name": "look", "call": f"{calls}is_positive", "takes": [x], "gives": [gate]},
        *(
            {"name": name, "call": f"{calls}double", "takes": [x], "gives": [y]} | change.get(name, {})
            for name in ("yes", "no")
        ),
    ]
    both = "unless" in change.get("no", {}) or "when" in change.get("no", {})
    outputs = {"y": ["yes.y", "no.y"] if both else "yes.y", "look": "look.yes"} | ({} if both else {"n": "no.y"})
    with pytest.raises(SettingsError, match=said):
        check({"pipeline": "p", "stages": stages, "outputs": outputs})
