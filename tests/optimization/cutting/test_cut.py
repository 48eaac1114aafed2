"""Real graphs, cut: parts that answer as the whole does, to the last bit, whatever the graph is made of."""

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

from deployments.settings import parse
from deployments.stages.declared import PipelineSettings
from deployments.stages.plan import planned
from optimization.__main__ import FAILED, main
from optimization.artifact import store
from optimization.artifact.manifest import TensorSpec
from optimization.artifact.session import serving_options
from optimization.cutting import times
from optimization.cutting.command import cut
from optimization.cutting.search import Wanted
from optimization.errors import CutError
from optimization.running.adopt import adopt

WIDTH, LAYERS = 64, 6
FLOATS = ("batch", "sequence", WIDTH)
INPUTS = tuple(TensorSpec(name=name, datatype="INT64", shape=FLOATS[:2]) for name in ("ids", "mask"))
OUTPUTS = (TensorSpec(name="y", datatype="FP32", shape=(*FLOATS[:2], 50)),)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(times, "MAX_RUNS", 5)


def encoder(tied=False):
    """Residual layers with attention's mask: a table, `LAYERS` times a Gelu network, norm and mask, and a head."""
    random = np.random.default_rng(0)
    weights = {"table": random.standard_normal((50, WIDTH)), "scale": np.ones(WIDTH), "bias": np.zeros(WIDTH)}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["h0"]),
        helper.make_node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["hidden"]),
    ]
    for layer in range(LAYERS):
        weights[f"up{layer}"] = random.standard_normal((WIDTH, 4 * WIDTH)) / WIDTH**0.5
        weights[f"down{layer}"] = random.standard_normal((4 * WIDTH, WIDTH)) / WIDTH**0.5
        nodes += [
            helper.make_node("MatMul", [f"h{layer}", f"up{layer}"], [f"u{layer}"]),
            helper.make_node("Gelu", [f"u{layer}"], [f"g{layer}"]),
            helper.make_node("MatMul", [f"g{layer}", f"down{layer}"], [f"d{layer}"]),
            helper.make_node("Mul", [f"d{layer}", "hidden"], [f"m{layer}"]),
            helper.make_node("Add", [f"m{layer}", f"h{layer}"], [f"a{layer}"]),
            helper.make_node("LayerNormalization", [f"a{layer}", "scale", "bias"], [f"h{layer + 1}"]),
        ]
    if tied:
        nodes.append(helper.make_node("Transpose", ["table"], ["head"], perm=[1, 0]))
    else:
        weights["head"] = random.standard_normal((WIDTH, 50))
    nodes.append(helper.make_node("MatMul", [f"h{LAYERS}", "head"], ["y"]))
    initializers = [numpy_helper.from_array(each.astype(np.float32), name) for name, each in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([-1]), "last"))
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, FLOATS[:2]) for name in ("ids", "mask")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*FLOATS[:2], 50])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def published(root, model, **fields):
    root.mkdir(parents=True, exist_ok=True)
    onnx.save(model, root / "whole.onnx")
    return store.publish(
        root / "artifacts",
        {store.MODEL: root / "whole.onnx"},
        name="whole",
        inputs=INPUTS,
        outputs=OUTPUTS,
        **fields,
    )


def cut_in(artifact, stages, **wanted):
    """With so many tokens that layers take their time, and masks none, whatever the machine does besides."""
    return cut(artifact, artifact.path.parents[1], f"{stages}", Wanted(stages=stages, batch_size=16, **wanted))


def texts():
    """Of sizes that the search has not tried."""
    random = np.random.default_rng(9)
    shapes = ((1, 1), (5, 7), (2, 40))
    return [{"ids": random.integers(0, 50, shape), "mask": random.integers(0, 2, shape)} for shape in shapes]


def assert_equal(whole, parts, inputs=None):
    options = serving_options(num_threads=1)
    one = onnxruntime.InferenceSession(whole.model_path, options)
    sessions = [onnxruntime.InferenceSession(parts.path / part.file, options) for part in parts.manifest.parts]
    for feeds in inputs or texts():
        tensors = dict(feeds)
        (expected,) = one.run(["y"], feeds)
        for session, part in zip(sessions, parts.manifest.parts, strict=True):
            names = [spec.name for spec in part.outputs]
            tensors |= zip(
                names, session.run(names, {spec.name: tensors[spec.name] for spec in part.inputs}), strict=True
            )
        assert expected.tobytes() == tensors["y"].tobytes()


@pytest.mark.parametrize("stages", [2, 3])
def test_parts_answer_as_the_whole_does(tmp_path, stages):
    whole = published(tmp_path, encoder(), labels=("a", "b"))
    parts, report = cut_in(whole, stages)
    assert len(parts.manifest.parts) == len(report.stages) == stages
    assert_equal(whole, store.load(parts.path))
    sent = [spec for part in parts.manifest.parts[1:] for spec in part.inputs if spec.name not in ("ids", "mask")]
    assert {spec.shape[:2] for spec in sent} == {FLOATS[:2]}, "of any batch and length"
    assert (parts.manifest.parent, parts.manifest.labels) == ("whole/1", ("a", "b"))


def test_the_mask_is_made_again_and_the_table_is_not(tmp_path):
    parts, report = cut_in(published(tmp_path, encoder()), 2)
    assert [spec.name for spec in parts.manifest.parts[1].inputs if spec.datatype == "INT64"] == ["mask"]
    first, second = (onnx.load(parts.path / part.file) for part in parts.manifest.parts)
    assert "Unsqueeze" in {node.op_type for node in first.graph.node} & {node.op_type for node in second.graph.node}
    assert "table" not in {each.name for each in second.graph.initializer}
    assert report.doubled_bytes < 1000


def test_a_weight_that_both_parts_need_is_in_both_and_counts(tmp_path):
    whole = published(tmp_path, encoder(tied=True))
    parts, report = cut_in(whole, 2)
    assert_equal(whole, parts)
    assert report.doubled_bytes >= 4 * 50 * WIDTH
    alone = [onnx.load(parts.path / part.file).graph.initializer for part in parts.manifest.parts]
    assert all("table" in {each.name for each in weights} for weights in alone)


class _Calibration(CalibrationDataReader):
    def __init__(self):
        random = np.random.default_rng(1)
        self._left = [{name: random.integers(0, 2, (4, 8)) for name in ("ids", "mask")} for _ in range(4)]

    def get_next(self):
        return self._left.pop() if self._left else None


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_quantized_model_is_cut_too(tmp_path, kind):
    onnx.save(encoder(), tmp_path / "float.onnx")
    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    if kind == "dynamic":
        quantize_dynamic(source, target)
    else:
        quantize_static(source, target, _Calibration(), quant_format=QuantFormat.QDQ, per_channel=True)
    whole = published(tmp_path, onnx.load(target))
    parts, _ = cut_in(whole, 2)
    assert_equal(whole, parts)


def test_weights_beside_a_graph_are_copied_to_the_part_that_needs_them(tmp_path):
    """As models beyond 2 GB have them: ONNX does not hold more in one file."""
    source = tmp_path / "model.onnx"
    onnx.save(encoder(), source, save_as_external_data=True, location="model.data", size_threshold=256)
    whole = adopt(source, tmp_path / "artifacts", "whole")
    assert whole.manifest.parts[0].weights == ("model.data",)
    parts, _ = cut_in(whole, 2)
    assert [part.weights for part in parts.manifest.parts] == [("part-1.weights",), ("part-2.weights",)]
    assert_equal(whole, store.load(parts.path))
    sizes = [parts.manifest.files[f"part-{number}.weights"].size_bytes for number in (1, 2)]
    assert sum(sizes) < 1.3 * (tmp_path / "model.data").stat().st_size, "each weight is in one of them"


def test_where_parts_would_answer_otherwise_the_graph_is_cut_elsewhere(tmp_path):
    """Of two convolutions that are added, ONNX Runtime adds one to the other as it computes it: a cut can change which,
    and so the order of the sum."""
    random = np.random.default_rng(0)
    channels, size = 16, 16
    nodes = [helper.make_node("Conv", ["x", "w"], ["short"], pads=[1] * 4)]
    weights = [numpy_helper.from_array(random.standard_normal((channels, channels, 3, 3)).astype(np.float32), "w")]
    before, last = "x", "short"
    for number in range(4):
        nodes.append(helper.make_node("Conv", [before, "w"], [f"c{number}"], pads=[1] * 4))
        nodes.append(helper.make_node("Add", [f"c{number}", last], [f"a{number}"]))
        before = last = f"a{number}"
    nodes += [helper.make_node("GlobalAveragePool", [last], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    ends = {"x": ["batch", channels, size, size], "y": ["batch", channels]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends.items())
    graph = helper.make_graph(nodes, "residual", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    whole = adopt(tmp_path / "m.onnx", tmp_path / "artifacts", "whole")
    parts, _ = cut_in(whole, 2)
    assert_equal(
        whole, parts, [{"x": random.standard_normal((rows, *ends["x"][1:])).astype(np.float32)} for rows in (1, 4)]
    )


def test_weights_fit_where_a_limit_is_given(tmp_path):
    """All but the table and the head in one part would be balanced, but too large."""
    whole = published(tmp_path, encoder())
    total = sum(stage.weights_bytes for stage in cut_in(whole, 2)[1].stages)
    _, report = cut_in(whole, 3, max_weights=int(0.45 * total))
    assert max(stage.weights_bytes for stage in report.stages) <= 0.45 * total


def test_control_flow_is_refused_by_name(tmp_path):
    model = encoder()
    branch = helper.make_graph(
        [helper.make_node("Identity", ["y"], ["z"])], "b", [], [helper.make_empty_tensor_value_info("z")]
    )
    model.graph.node.append(
        helper.make_node("If", ["c"], ["end"], name="choose", then_branch=branch, else_branch=branch)
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    with pytest.raises(CutError, match="must be without control flow to be cut, got the node 'choose', If"):
        cut_in(published(tmp_path, model), 2)


def test_a_model_that_draws_random_numbers_is_refused(tmp_path):
    model = encoder()
    model.graph.node[-1].output[0] = "clean"
    model.graph.node.append(helper.make_node("RandomNormalLike", ["clean"], ["noise"]))
    model.graph.node.append(helper.make_node("Add", ["clean", "noise"], ["y"]))
    with pytest.raises(CutError, match="must answer the same twice"):
        cut_in(published(tmp_path, model), 2)


def test_a_graph_of_one_node_has_no_place_to_cut_it_at(tmp_path):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "one", [x], [y])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "one.onnx"
    )
    whole = adopt(tmp_path / "one.onnx", tmp_path / "artifacts", "one")
    with pytest.raises(CutError, match="must have a place to cut it at"):
        cut_in(whole, 2)


def test_any_length_is_taken_though_a_call_of_one_is_timed(tmp_path):
    whole = published(tmp_path, encoder())
    parts, _ = cut_in(whole, 2, length=1)
    assert_equal(whole, parts)
    assert {spec.shape[:2] for part in parts.manifest.parts for spec in part.inputs} == {FLOATS[:2]}


def test_what_is_cut_already_is_not_cut_again(tmp_path):
    parts, _ = cut_in(published(tmp_path, encoder()), 2)
    with pytest.raises(CutError, match="'2' must have one graph to be cut, got 2: cut its parent"):
        cut_in(parts, 2)


def test_the_command_prints_the_stages_and_how_to_serve_them(tmp_path, capsys):
    whole = published(tmp_path, encoder())
    root = tmp_path / "artifacts"
    assert main(["cut", str(whole.path), "--stages", "2", "--artifacts", str(root)]) == 0
    printed = capsys.readouterr().out
    assert "whole-2-stages 1" in printed
    assert store.versions(root, "whole-2-stages") == [1]
    (application,) = yaml.safe_load(printed[printed.index("applications:") :])["applications"]
    assert application["import_path"] == "deployments.app:pipeline"
    plan = planned(parse(PipelineSettings, application["args"], "args"))
    assert [stage.declared.part for stage in plan.stages.values()] == [1, 2]
    assert set(plan.manifest.inputs) == set(whole.manifest.inputs)
    assert plan.manifest.outputs == whole.manifest.outputs
    assert main(["inspect", str(root / "whole-2-stages" / "1")]) == 0
    assert "part 1, " in (shown := capsys.readouterr().out) and "part 2, " in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "--stages", "2"], "nowhere/manifest.json cannot be read"),
        (["{whole}", "--stages", "1"], "--stages must be at least 2, got 1"),
        (["{whole}", "--stages", "1000"], "stages must lie between 2 and"),
        (["{whole}", "--stages", "2", "--max-weights", "1kB"], "--max-weights must let 2 stages hold the weights"),
        (["{whole}", "--stages", "2", "--length", "0"], "--length must be at least 1, got 0"),
        (["{whole}", "--stages", "2", "--batch-size", "0"], "--batch-size must be at least 1, got 0"),
    ],
)
def test_a_cut_that_is_none_is_refused_and_nothing_is_published(tmp_path, capsys, words, said):
    whole = published(tmp_path, encoder())
    arguments = [word.format(whole=whole.path) for word in words]
    assert main(["cut", *arguments, "--artifacts", str(tmp_path / "out")]) == FAILED
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
