"""Rows that a model refuses, and what its outputs become."""

import time
from io import StringIO

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from deployments.errors import ScoringError
from deployments.offline.answers import answers, columns
from deployments.offline.progress import shown
from deployments.offline.run import Progress
from deployments.offline.scorer import Scorer
from optimization.artifact.manifest import Manifest
from optimization.artifact.store import publish
from telemetry.emitting.emitter import Emitter


@pytest.fixture
def lookup(tmp_path):
    """A table of four rows, which refuses an index beyond them."""
    table = numpy_helper.from_array(np.arange(4, dtype=np.float32) * 10, "table")
    inputs = [helper.make_tensor_value_info("index", TensorProto.INT64, ["batch"])]
    outputs = [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["batch"])]
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["value"])], "l", inputs, outputs, [table]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "l.onnx")
    return publish(
        tmp_path,
        {"model.onnx": tmp_path / "l.onnx"},
        name="lookup",
        inputs=[{"name": "index", "datatype": "INT64", "shape": ["batch"]}],
        outputs=[{"name": "value", "datatype": "FP32", "shape": ["batch"]}],
    )


def test_a_row_that_the_model_refuses_spoils_no_other(lookup):
    indices = [at % 4 for at in range(100)]
    indices[7] = indices[60] = 9
    errors = [None] * 100
    errors[3] = "known to be bad"
    scorer = Scorer(lookup, Emitter(service="m", version="1", role="score", instance="i", endpoint="none"))
    found = scorer.answers({"index": [np.array(index) for index in indices]}, errors)
    scorer.close()
    assert [at for at, error in enumerate(errors) if error] == [3, 7, 60]
    assert errors[7].startswith("the model refuses the row: ")
    assert [row is None for row in found["value"]] == [error is not None for error in errors]
    assert all(row == 10 * index for row, index in zip(found["value"], indices, strict=True) if row is not None)


def manifest(meaning, shape=("batch", 2), datatype="FP32"):
    tensor = {"name": "y", "datatype": datatype, "shape": shape, "meaning": meaning}
    model = {"size_bytes": 0, "sha256": "0" * 64}
    return Manifest(
        name="m",
        version="1",
        created="2026-01-01T00:00:00Z",
        inputs=[{"name": "x", "datatype": "FP32", "shape": ["batch"]}],
        outputs=[tensor],
        labels=("no", "yes"),
        files={"model.onnx": model},
    )


def made(meaning, rows, **spec):
    found = columns(answers(manifest(meaning, **spec), ()), {"y": rows})
    return {name: column.to_pylist() for name, column in found.items()}


def test_logits_and_probabilities_become_a_label_and_its_probability():
    logits = [np.array([0, np.log(3)], np.float32), None]
    assert made("logits", logits) == {"label": ["yes", None], "probability": [0.75, None]}
    assert made("probabilities", [np.array([0.75, 0.25])])["label"] == ["no"]


def test_one_logit_is_the_second_class_by_a_sigmoid():
    found = made("logits", [np.array([-np.log(3)], np.float32)], shape=("batch", 1))
    assert found == {"label": ["no"], "probability": [0.75]}


def test_an_output_that_nobody_has_named_keeps_its_numbers_beside_the_label():
    found = made(None, [np.array([1, 2], np.float32)])
    assert found == {"label": ["yes"], "y": [[1.0, 2.0]]}


def test_outputs_of_any_rank_become_lists():
    row = np.arange(4, dtype=np.float32).reshape(2, 2)
    assert made("boxes", [None, row], shape=("batch", "boxes", 2)) == {"y": [None, [[0.0, 1.0], [2.0, 3.0]]]}
    assert made("values", [np.float32(2), None], shape=("batch",)) == {"y": [2.0, None]}
    (answer,) = answers(manifest("values", shape=("batch", 3), datatype="BF16"), ())
    assert answer.type == pa.list_(pa.float32())


def test_a_name_that_the_input_has_gets_a_prefix_and_is_never_written_twice():
    assert [each.column for each in answers(manifest("logits"), ("label",))] == ["predicted_label", "probability"]
    with pytest.raises(ScoringError, match="columns 'label' and 'predicted_label' of the input are written too"):
        answers(manifest("logits"), ("label", "predicted_label"))
    with pytest.raises(ScoringError, match="column 'error' of the input has the name"):
        answers(manifest("logits"), ("error",))


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_tells_rows_a_second_and_time_left_of_this_run_alone(is_terminal):
    text = StringIO()
    progress = Progress(num_rows=1000, num_before=500, num_done=700, num_bad=3, began_s=time.time() - 10)
    with shown(Console(file=text, force_terminal=is_terminal, width=200)) as report:
        report(progress)
    assert "20 rows/s, about 15 s left, 3 bad" in text.getvalue()
    assert ("700/1000" if is_terminal else "700 of 1,000 rows, ") in text.getvalue()
