"""What quality is: a measure by its name or by an import path, whichever of a task's answers it reads.

    outputs ─▶ task.read ─▶ right │ answers │ scores ─▶ Measure.of ─▶ a number, higher or lower being better

A measure that is the share of right answers needs no more than the task. The others are scikit-learn's and scipy's; a
new one is one entry in `_NAMED`, and its name in the tasks that it fits.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from optimization import extras
from optimization.errors import DataError, RecipeError
from optimization.recipe.settings import MeasureChoice
from optimization.tasks.task import LabelledTask

Reads = Literal["right", "answers", "scores"]
Array = NDArray[Any]

_NO_POSITIVES = "No positive class found"
"""How scikit-learn's warning begins where a precision is of no examples; it has no class of its own."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure of quality."""

    name: str
    reads: Reads
    """Which answers are right; what is answered; or how sure the model is."""
    whole: Callable[[Array, Array], Any] | None = None
    """Of labels and what is read, the measure of all examples together."""
    each: Callable[[Array, Array], Array] | None = None
    """Instead, what each example adds: the measure is their mean."""
    lower_is_better: bool = False
    is_share: bool = True
    """Whether it is told in percent, as what lies in [0, 1], or in [-1, 1], is."""

    @property
    def title(self) -> str:
        """What a reader is told it is."""
        return self.name.replace("_", " ")

    def of(self, task: LabelledTask, read: NDArray[np.float32], labels: Array) -> float:
        """Its value; no number where it is undefined."""
        per_example = self.per_example(task, read, labels)
        if per_example is not None:
            return float(per_example.mean())
        try:
            return self.defined(task, read, labels)
        except (Warning, ValueError):
            return math.nan

    def defined(self, task: LabelledTask, read: NDArray[np.float32], labels: Array) -> float:
        """The measure of all examples together.

        Raises:
            Warning, ValueError: it is undefined, as the library it comes from says.
        """
        assert self.whole is not None, "a mean is always defined"
        with _strictly():
            return float(self.whole(*task.compared(labels, self._read(task, read))))

    def per_example(self, task: LabelledTask, read: NDArray[np.float32], labels: Array) -> Array | None:
        """What each example adds, where the measure is a mean: booleans where an answer is right or not."""
        if self.reads == "right":
            return task.right(task.answers(read), labels)
        return None if self.each is None else self.each(*task.compared(labels, self._read(task, read)))

    def drop(self, reference: float, other: float) -> float:
        """How much worse the other is; below 0 where it is better."""
        return other - reference if self.lower_is_better else reference - other

    def _read(self, task: LabelledTask, read: NDArray[np.float32]) -> Array:
        return task.answers(read) if self.reads == "answers" else task.scores(read)


def named(name: str) -> Measure:
    """The measure of that name."""
    return _NAMED[name]


def find(choice: MeasureChoice | None, task: LabelledTask) -> Measure:
    """What the recipe names, or else the first of the task's own.

    Raises:
        RecipeError: there is no such measure, or it does not fit the task.
    """
    if choice is None:
        return _NAMED[task.measures[0]]
    if ":" not in choice.name:
        if choice.name not in task.measures:
            known = ", ".join(task.measures)
            raise RecipeError(f"measure must be one of {known} or an import path for {task.kind}, got {choice.name!r}")
        return _NAMED[choice.name]
    return Measure(
        name=choice.name.partition(":")[2],
        reads=choice.reads,
        whole=extras.load(choice.name),
        lower_is_better=choice.lower_is_better,
        is_share=choice.is_share,
    )


def expect_defined(measure: Measure, task: LabelledTask, labels: Array, num_outputs: int, part: str) -> None:
    """Check that a model which answers all of those labels rightly has a quality.

    Raises:
        DataError: it has none, as an AUROC of one class.
    """
    if not len(labels):
        raise DataError(f"{part} must hold at least one example to measure {measure.name} on, got none")
    if measure.whole is None:
        return
    try:
        found = measure.defined(task, task.ideal(labels, num_outputs), labels)
        reason = str(found)
    except (Warning, ValueError) as error:
        found, reason = math.nan, " ".join(str(error).split())
    if not math.isfinite(found):
        rule = f"{measure.name} must be defined on the {part} examples"
        raise DataError(f"{rule}, got: {reason.removesuffix('.')}. Give others, or name another measure")


@contextmanager
def _strictly() -> Iterator[None]:
    """Turn warnings that a measure is undefined into errors; what was checked is not checked in every draw."""
    from scipy.stats import ConstantInputWarning
    from sklearn import config_context
    from sklearn.exceptions import UndefinedMetricWarning

    with warnings.catch_warnings(), config_context(assume_finite=True, skip_parameter_validation=True):
        for each in (ConstantInputWarning, UndefinedMetricWarning):
            warnings.simplefilter("error", each)
        warnings.filterwarnings("error", _NO_POSITIVES)
        yield


def _f1(labels: Array, answers: Array, average: str = "binary") -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, answers, average=average))


def _auroc(labels: Array, scores: Array) -> float:
    """Of more than two classes, the mean of each against all others."""
    from sklearn.metrics import roc_auc_score

    if labels.ndim == 1 and scores.ndim == 2:
        return float(roc_auc_score(np.eye(scores.shape[1], dtype=np.int64)[labels], scores, average="macro"))
    return float(roc_auc_score(labels, scores, average="macro"))


def _mean_average_precision(labels: Array, scores: Array) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores, average="macro"))


def _spearman(labels: Array, answers: Array) -> float:
    """A model that answers all alike orders nothing: 0."""
    from scipy.stats import spearmanr

    if np.ptp(answers) == 0 and np.ptp(labels) > 0:
        return 0.0
    return float(spearmanr(labels, answers).statistic)


def _squared(labels: Array, answers: Array) -> Array:
    return np.square(answers.astype(np.float64) - labels)


def _absolute(labels: Array, answers: Array) -> Array:
    return np.abs(answers.astype(np.float64) - labels)


_NAMED = {
    each.name: each
    for each in (
        Measure(name="accuracy", reads="right"),
        Measure(name="agreement", reads="right"),
        Measure(name="exact_match", reads="right"),
        Measure(name="f1", reads="answers", whole=_f1),
        Measure(name="f1_macro", reads="answers", whole=partial(_f1, average="macro")),
        Measure(name="f1_micro", reads="answers", whole=partial(_f1, average="micro")),
        Measure(name="auroc", reads="scores", whole=_auroc),
        Measure(name="map", reads="scores", whole=_mean_average_precision),
        Measure(name="spearman", reads="answers", whole=_spearman),
        Measure(name="mse", reads="answers", each=_squared, lower_is_better=True, is_share=False),
        Measure(name="mae", reads="answers", each=_absolute, lower_is_better=True, is_share=False),
    )
}
