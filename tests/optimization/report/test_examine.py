import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn import metrics

from optimization.measuring import judging, measures
from optimization.report import examine

ACCURACY = measures.named("accuracy")


def test_confusion_is_scikit_learns(random: np.random.Generator) -> None:
    labels, classes = random.integers(0, 5, 300), random.integers(0, 5, 300)
    expected = metrics.confusion_matrix(labels, classes, labels=range(6))
    np.testing.assert_array_equal(examine.confusion(classes, labels, 6), expected)


def test_confusions_of_very_many_classes_are_not_kept() -> None:
    assert examine.confusion(np.zeros(3, np.int64), np.zeros(3, np.int64), examine.MAX_CLASSES + 1) == ()


def test_difference_is_that_of_the_accuracies(random: np.random.Generator) -> None:
    right = {"teacher": random.random(500) < 0.95, "quantize": np.ones(500, np.bool_)}
    judged = {step: judging.right(ACCURACY, each) for step, each in right.items()}
    found = examine.difference(judged, reference="teacher", other="quantize")
    assert found.drop == pytest.approx(np.mean(right["teacher"]) - 1)
    assert found.low < found.drop < found.high < 0, "the other is better, beyond chance"
    assert (found.num_lost, found.num_samples) == (0, 500)


@pytest.mark.parametrize(
    ("steps", "pairs"),
    [
        (
            ["teacher", "control", "distill", "quantize"],
            [("teacher", "quantize"), ("control", "distill"), ("distill", "quantize")],
        ),
        (["teacher", "control", "distill"], [("teacher", "distill"), ("control", "distill")]),
        (["teacher", "quantize"], [("teacher", "quantize")]),
        (["teacher"], []),
    ],
)
def test_what_is_compared_once(steps: list[str], pairs: list[tuple[str, str]]) -> None:
    found = examine.differences({step: judging.right(ACCURACY, np.ones(4, np.bool_)) for step in steps})
    assert [(each.reference, each.other) for each in found] == pairs


def test_layers_are_the_weights_not_the_biases() -> None:
    weight = np.eye(4, dtype=np.float32)
    initializers = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.zeros(4, np.float32), "b")]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        initializers,
    )
    (layer,) = examine.layers(helper.make_model(graph), {"w": 0.01})
    assert layer.sensitivity == 0.01
    assert (layer.name, layer.shape, layer.datatype, layer.sparsity) == ("w", (4, 4), "FLOAT32", 0.75)
