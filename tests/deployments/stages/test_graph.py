"""What serve_config.yaml says of a pipeline: which stages fit together, and how what does not is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import SettingsError
from deployments.settings import parse
from deployments.stages.declared import PipelineSettings
from deployments.stages.graph import Signature, Source, graph_of
from optimization.artifact.manifest import TensorSpec

PICTURE = TensorSpec(name="picture", datatype="UINT8", shape=("batch", 64, 64, 3))
BOXES = TensorSpec(name="boxes", datatype="FP32", shape=("batch", 4))
PIXELS = TensorSpec(name="pixels", datatype="FP32", shape=("n", 3, 32, 32))
CLASSES = TensorSpec(name="classes", datatype="FP32", shape=("batch", 10))

DETECT = {"name": "detect", "artifact": "centerface"}
CUT = {
    "name": "cut",
    "call": "shop.pictures:cut",
    "takes": [PICTURE.model_dump(), BOXES.model_dump()],
    "gives": [PIXELS.model_dump()],
    "inputs": {"boxes": "detect.boxes"},
}
NAME = {"name": "name", "artifact": "resnet", "inputs": {"pixels": "cut.pixels"}}
ENDS = {"boxes": "detect.boxes", "who": "name.classes"}
SIGNATURES = {
    "detect": Signature(inputs=(PICTURE,), outputs=(BOXES,)),
    "cut": Signature(inputs=(PICTURE, BOXES), outputs=(PIXELS,)),
    "name": Signature(inputs=(PIXELS,), outputs=(CLASSES,)),
}


def declared(*stages, outputs=ENDS):
    return parse(PipelineSettings, {"pipeline": "faces", "stages": list(stages), "outputs": outputs}, "args")


def fitted(settings, signatures):
    return graph_of(settings.stages, settings.outputs, signatures)


def test_a_pipeline_takes_and_gives_what_its_ends_do_whatever_order_it_is_written_in():
    graph = fitted(declared(NAME, CUT, DETECT), SIGNATURES)
    assert graph.order == (("detect",), ("cut",), ("name",))
    assert graph.inputs == (PICTURE,)
    assert graph.outputs == (BOXES, CLASSES.model_copy(update={"name": "who"}))
    assert graph.feeds["cut"] == {
        "picture": (Source(stage=None, tensor="picture"),),
        "boxes": (Source(stage="detect", tensor="boxes"),),
    }
    assert graph.gives["who"] == (Source(stage="name", tensor="classes"),)


def test_stages_that_do_not_wait_for_each_other_run_side_by_side_and_are_joined():
    signatures = {each: Signature(inputs=(PIXELS,), outputs=(CLASSES,)) for each in ("one", "other")}
    two = tuple(TensorSpec(name=each, datatype="FP32", shape=("batch", 10)) for each in ("a", "b"))
    signatures["vote"] = Signature(inputs=two, outputs=(CLASSES,))
    stages = [{"name": each, "artifact": each} for each in ("one", "other")]
    stages.append({"name": "vote", "artifact": "vote", "inputs": {"a": "one.classes", "b": "other.classes"}})
    graph = fitted(declared(*stages, outputs={"classes": "vote.classes"}), signatures)
    assert graph.order == (("one", "other"), ("vote",))
    assert graph.inputs == (PIXELS,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": {"pixels": "crop.pixels"}}, r"stages\.name\.inputs\.pixels: stages are .*got 'crop\.pixels'"),
        ({"inputs": {"pixels": "cut.faces"}}, r"stage 'cut' gives pixels, got 'cut\.faces'"),
        ({"inputs": {"pixel": "cut.pixels"}}, r"stages\.name\.inputs: they are pixels, got pixel"),
        (
            {"inputs": {"pixels": "detect.boxes"}},
            r"inputs\.pixels: it must be FP32 of \['n', 3, 32, 32\], and detect\.boxes is FP32 of \['batch', 4\]",
        ),
    ],
)
def test_a_tensor_that_is_not_there_or_does_not_fit_is_named(change, said):
    with pytest.raises(SettingsError, match=said):
        fitted(declared(DETECT, CUT, NAME | change), SIGNATURES)


def test_sizes_and_types_must_fit_and_names_of_sizes_may_differ():
    narrow = PIXELS.model_copy(update={"shape": ("n", 1, 32, 32)})
    whole = PIXELS.model_copy(update={"datatype": "INT64"})
    for other in (narrow, whole):
        with pytest.raises(SettingsError, match=r"stages\.name\.inputs\.pixels: it must be"):
            fitted(
                declared(DETECT, CUT, NAME), SIGNATURES | {"cut": Signature(inputs=(PICTURE, BOXES), outputs=(other,))}
            )
    free = PIXELS.model_copy(update={"shape": ("faces", "channels", 32, 32)})
    fitted(declared(DETECT, CUT, NAME), SIGNATURES | {"cut": Signature(inputs=(PICTURE, BOXES), outputs=(free,))})


def test_two_stages_that_take_the_same_tensor_of_the_request_must_agree_on_it():
    grey = PICTURE.model_copy(update={"shape": ("batch", 64, 64, 1)})
    signatures = SIGNATURES | {"detect": Signature(inputs=(grey,), outputs=(BOXES,))}
    with pytest.raises(SettingsError, match="'picture' of the request, as other stages take it, is UINT8"):
        fitted(declared(DETECT, CUT, NAME), signatures)


def test_a_cycle_is_named():
    back = CUT | {"inputs": {"boxes": "name.classes"}}
    with pytest.raises(SettingsError, match=r"got the cycle (cut -> name -> cut|name -> cut -> name)"):
        fitted(declared(DETECT, back, NAME, outputs=ENDS), SIGNATURES)


def test_a_stage_that_nobody_uses_is_named():
    with pytest.raises(SettingsError, match=r"stages\.name: some stage or output must use"):
        fitted(declared(DETECT, CUT, NAME, outputs={"boxes": "detect.boxes", "faces": "cut.pixels"}), SIGNATURES)


def test_what_the_request_brings_is_no_output():
    with pytest.raises(SettingsError, match=r"outputs\.same: it must be a tensor that a stage gives, got 'picture'"):
        fitted(declared(DETECT, CUT, NAME, outputs=ENDS | {"same": "picture"}), SIGNATURES)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"name": "x"}, "an artifact or a call: one of the two"),
        (CUT | {"artifact": "resnet"}, "an artifact or a call: one of the two"),
        ({"name": "x", "call": "shop:cut"}, "must say what it takes and gives"),
        (DETECT | {"gives": [BOXES.model_dump()]}, "in its manifest"),
        (DETECT | {"call_": "x"}, "call_"),
        (DETECT | {"name": "a.b"}, "name"),
        (DETECT | {"inputs": {"picture": "a b"}}, "inputs"),
        ({"name": "x", "call": "no-module", "takes": [PICTURE.model_dump()], "gives": [BOXES.model_dump()]}, "call"),
    ],
)
def test_a_stage_that_says_too_much_or_too_little_is_refused(stage, said):
    with pytest.raises(SettingsError, match=said):
        declared(stage)


def test_stages_of_one_name_are_refused():
    with pytest.raises(SettingsError, match="different names, got detect twice"):
        declared(DETECT, DETECT)


@given(st.integers(2, 8), st.data())
def test_every_stage_runs_after_all_it_waits_for(number, data):
    """Any graph without a cycle, its stages written in any order."""
    one = TensorSpec(name="y", datatype="FP32", shape=("batch", 1))
    stages, signatures, waits = [], {}, {}
    for at in range(number):
        from_ = sorted(data.draw(st.sets(st.integers(0, at - 1), max_size=3))) if at else []
        waits[f"s{at}"] = {f"s{each}" for each in from_}
        taken = tuple(one.model_copy(update={"name": f"x{each}"}) for each in from_) or (one,)
        signatures[f"s{at}"] = Signature(inputs=taken, outputs=(one,))
        stages.append({"name": f"s{at}", "artifact": "m", "inputs": {f"x{each}": f"s{each}.y" for each in from_}})
    ends = {f"y{at}": f"s{at}.y" for at in range(number)}
    graph = fitted(declared(*data.draw(st.permutations(stages)), outputs=ends), signatures)
    ran = set()
    for side_by_side in graph.order:
        assert all(waits[each] <= ran for each in side_by_side)
        ran |= set(side_by_side)
    assert ran == set(waits)
