import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics

from optimization.errors import DataError, RecipeError
from optimization.measuring import measures
from optimization.recipe.settings import MeasureChoice
from optimization.tasks.classification import Classification

TASK = Classification()


def test_named_measures_are_scikit_learns(random: np.random.Generator) -> None:
    labels, read = random.integers(0, 3, 200), special.softmax(random.normal(size=(200, 3)), axis=1)
    of = {name: measures.named(name).of(TASK, read, labels) for name in ("accuracy", "f1_macro", "auroc")}
    answers = read.argmax(axis=1)
    assert of["accuracy"] == pytest.approx(metrics.accuracy_score(labels, answers))
    assert of["f1_macro"] == pytest.approx(metrics.f1_score(labels, answers, average="macro"))
    assert of["auroc"] == pytest.approx(metrics.roc_auc_score(labels, read, multi_class="ovr"))


def test_of_two_classes_f1_and_auroc_are_of_the_second(random: np.random.Generator) -> None:
    labels, read = random.integers(0, 2, 200), random.random((200, 1)).astype(np.float32)
    assert measures.named("f1").of(TASK, read, labels) == pytest.approx(metrics.f1_score(labels, read[:, 0] > 0.5))
    expected = metrics.roc_auc_score(labels, read[:, 0])
    both = np.concatenate([1 - read, read], axis=1)
    for each in (read, both):
        assert measures.named("auroc").of(TASK, each, labels) == pytest.approx(expected, abs=1e-6)


def test_a_function_by_import_path_measures(random: np.random.Generator) -> None:
    labels, read = random.integers(0, 3, 200), special.softmax(random.normal(size=(200, 3)), axis=1)
    choice = MeasureChoice(name="sklearn.metrics:balanced_accuracy_score")
    expected = metrics.balanced_accuracy_score(labels, read.argmax(axis=1))
    found = measures.find(choice, TASK)
    assert (found.title, found.of(TASK, read, labels)) == ("balanced accuracy score", pytest.approx(expected))


@pytest.mark.parametrize("name", TASK.measures)
def test_a_model_that_is_always_right_is_the_best_there_is(name: str) -> None:
    labels = np.arange(20) % 2
    assert measures.named(name).of(TASK, TASK.ideal(labels, 1), labels) == 1


def test_a_measure_that_no_model_can_have_is_refused_by_name() -> None:
    one_class = np.zeros(10, np.int64)
    with pytest.raises(DataError, match=r"auroc must be defined on the held-out examples, got: .*[Oo]nly one class"):
        measures.expect_defined(measures.named("auroc"), TASK, one_class, 1, "held-out")
    with pytest.raises(DataError, match=r"f1 must be defined on the validation examples, got: .*multiclass"):
        measures.expect_defined(measures.named("f1"), TASK, np.arange(3), 3, "validation")
    measures.expect_defined(measures.named("accuracy"), TASK, one_class, 1, "held-out")


def test_a_measure_of_another_task_is_refused_with_those_that_fit() -> None:
    with pytest.raises(RecipeError, match=r"measure must be one of accuracy, .* for classification, got 'spearman'"):
        measures.find(MeasureChoice(name="spearman"), TASK)


def test_what_orders_nothing_has_no_rank_correlation(random: np.random.Generator) -> None:
    spearman = measures.named("spearman").whole
    assert spearman is not None
    labels, answers = random.normal(size=50), random.normal(size=50)
    assert spearman(labels, answers) == pytest.approx(stats.spearmanr(labels, answers).statistic)
    assert spearman(labels, np.ones(50)) == 0
