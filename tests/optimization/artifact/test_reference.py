"""The reference of an artifact, and how rows are looked at."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from optimization.artifact.manifest import TensorSpec
from optimization.artifact.reference.distribution import Distribution, distribution_of
from optimization.artifact.reference.measure import reference_of
from optimization.artifact.reference.reference import Reference, problems
from optimization.artifact.reference.views import NUM_PROJECTIONS, Views
from optimization.artifact.reference.vocabulary import Vocabulary

TABLE = TensorSpec(name="x", datatype="FP32", shape=("batch", 3))
PICTURES = TensorSpec(name="image", datatype="FP32", shape=("batch", 3, 32, 32))
THREE = TensorSpec(name="probabilities", datatype="FP32", shape=("batch", 3), meaning="probabilities")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def _softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def test_each_row_is_in_one_bin_and_a_value_on_an_edge_falls_below_it(random):
    values = random.normal(size=1000)
    found = distribution_of("x", values)
    assert sum(found.counts) == 1000
    assert all(99 <= count <= 101 for count in found.counts)
    assert found.count(np.array([found.edges[0], np.nextafter(found.edges[0], 9)])).tolist()[:2] == [1, 1]


def test_a_column_of_few_values_is_one_of_categories_and_others_have_a_bin_of_their_own():
    found = distribution_of("x", np.array([0.0, 1.0, 1.0, 5.0] * 20))
    assert found.kind == "categories"
    assert found.counts == (20, 40, 20, 0)
    assert found.bounds == (0.5, 1.5, 2.5)
    assert found.count(np.array([1.0, 4.0, 7.0, np.nan])).tolist() == [0, 1, 0, 2]


def test_a_small_input_is_watched_by_column_and_a_classifier_by_class_confidence_and_projections(random):
    views = Views([TABLE], [THREE])
    asked = views.inputs({"x": random.normal(size=(500, 3)).astype(np.float32)})
    answered = views.outputs({"probabilities": _softmax(random.normal(size=(500, 3))).astype(np.float32)})
    assert list(asked) == ["x[0]", "x[1]", "x[2]"]
    assert {"class", "confidence"} < set(answered)
    assert len(answered) == 2 + NUM_PROJECTIONS
    found = reference_of(views, asked, answered)
    assert [each.name for each in found.inputs] == list(asked)
    assert next(each for each in found.outputs if each.name == "class").values == (0.0, 1.0, 2.0)
    assert Reference.model_validate_json(found.model_dump_json()) == found


def test_a_model_of_several_labels_is_watched_by_the_probability_of_each_and_by_how_many_there_are():
    probabilities = np.array([[0.9, 0.6, 0.1], [0.2, 0.3, 0.4]], np.float32)
    answered = Views([TABLE], [THREE], task="multi_label").outputs({"probabilities": probabilities})
    assert list(answered) == ["probabilities[0]", "probabilities[1]", "probabilities[2]", "labels"]
    np.testing.assert_array_equal(answered["probabilities[1]"], probabilities[:, 1])
    np.testing.assert_array_equal(answered["labels"], [2, 0])


def test_tokens_are_watched_alike_whatever_they_were_padded_to(random):
    tokens = TensorSpec(name="logits", datatype="FP32", shape=("batch", "sequence", 3), meaning="logits")
    views, logits = Views([TABLE], [tokens]), random.normal(size=(5, 4, 3))
    found, padded = (views.outputs({"logits": each}) for each in (logits, np.pad(logits, ((0, 0), (0, 3), (0, 0)))))
    assert len(found) == 1 + NUM_PROJECTIONS
    assert found["confidence"].shape == (5,)
    for name, column in found.items():
        np.testing.assert_allclose(padded[name], column)


def test_pictures_are_watched_by_brightness_contrast_and_projections(random):
    images = random.random((20, 3, 32, 32), np.float32)
    views = Views([PICTURES], [THREE])
    before, after = views.inputs({"image": images}), views.inputs({"image": images * 0.5})
    assert len(before) == 2 + NUM_PROJECTIONS
    assert np.allclose(after["image.brightness"], before["image.brightness"] / 2)
    assert np.allclose(after["image.contrast"], before["image.contrast"] / 2)


def test_projections_are_the_same_wherever_they_are_taken(random):
    images = random.random((5, 3, 32, 32), np.float32)
    one, other = (Views([PICTURES], [THREE], seed=3).inputs({"image": images}) for _ in range(2))
    for name, column in one.items():
        assert np.array_equal(column, other[name])


def test_texts_are_watched_by_length_unknown_tokens_and_characters(tmp_path: Path):
    words = {"[UNK]": 0, "plain": 1, "1234": 2, "CAPS": 3, "é": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = Vocabulary(tmp_path / "tokenizer.json").statistics(
        np.array([[1, 2, 3, 4], [1, 0, 0, 0]]), np.array([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    )
    assert found["length"].tolist() == [4, 2]
    assert found["unknown"].tolist() == [0, 0.5]
    assert found["digits"][0] == pytest.approx(4 / 14)
    assert found["capitals"][0] == pytest.approx(4 / 14)
    assert found["beyond_ascii"][0] == pytest.approx(1 / 14)


def test_what_is_wrong_with_a_row_is_told_by_column_and_kind(random):
    views = Views([TABLE], [THREE])
    rows = np.column_stack([random.normal(size=300), random.integers(0, 3, 300), random.random(300)])
    found = reference_of(views, views.inputs({"x": rows}), {})
    served = np.array([[99.0, 0, 0.5], [0.0, 7, 0.5], [np.nan, 1, 0.5], [0.0, 1, 0.5]])
    wrong = problems(found.inputs, views.inputs({"x": served}))
    assert {key: rows.tolist().index(True) for key, rows in wrong.items()} == {
        ("x[0]", "out_of_range"): 0,
        ("x[1]", "new_category"): 1,
        ("x[0]", "missing"): 2,
    }
    assert found.num_problems["out_of_range"] in (3, 4)  # the ends of two columns, each seen once
    assert found.num_problems["missing"] == 0


def test_bins_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="x: edges must ascend, one fewer than counts"):
        Distribution(name="x", edges=(2.0, 1.0), counts=(1, 1, 1))
