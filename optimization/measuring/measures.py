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
from operator import eq
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from optimization import extras
from optimization.errors import DataError, RecipeError
from optimization.measuring import candidates, entities
from optimization.recipe.settings import MeasureChoice
from optimization.tasks.embedding import nearest_alike
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
    """Instead, what each example adds that counts: the measure is their mean."""
    counts: Callable[[Array, Array], Array] | None = None
    """Instead, what is counted of each example, of shape [examples, counts]."""
    of_counts: Callable[[Array], Array] | None = None
    """The measure of such counts, summed over the examples, for each row of them; no number where it is undefined."""
    lacking: str = ""
    """What examples lack where it is undefined."""
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
            return float(self.combined(per_example.sum(axis=0), len(per_example)))
        try:
            return self.defined(task, read, labels)
        except (Warning, ValueError):
            return math.nan

    def defined(self, task: LabelledTask, read: NDArray[np.float32], labels: Array) -> float:
        """The measure of all examples together.

        Raises:
            Warning, ValueError: it is undefined, as the library it comes from says.
        """
        if self.whole is None:
            found = self.of(task, read, labels)
            if not math.isfinite(found):
                raise ValueError(self.lacking or str(found))
            return found
        with _strictly():
            return float(self.whole(*task.compared(labels, self._read(task, read))))

    def per_example(self, task: LabelledTask, read: NDArray[np.float32], labels: Array) -> Array | None:
        """What each example adds, where the measure is made of that: booleans where an answer is right or not."""
        if self.reads == "right":
            return task.right(task.answers(read), labels)
        of_each = self.each or self.counts
        return None if of_each is None else of_each(*task.compared(labels, self._read(task, read)))

    def combined(self, sums: Array, num: int) -> Array:
        """The measure by the sums of what `num` examples add, for each row of sums where there are several."""
        if self.of_counts is not None:
            return np.asarray(self.of_counts(sums))
        return np.asarray(sums / num if num else math.nan)

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


def _recall(numbers: Array, vectors: Array, num: int) -> Array:
    """Of each vector that belongs with another, whether one of the `num` nearest does."""
    _, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    return nearest_alike(numbers, vectors, num)[counts[place] > 1]


def _tokens(labels: Array, answers: Array) -> Array:
    """Of each text: right labels of words, and all."""
    pairs = zip(labels, answers, strict=True)
    return np.array([(sum(map(eq, one, other)), len(one)) for one, other in pairs], np.float64).reshape(-1, 2)


def _share(sums: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


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
        *(
            Measure(
                name=f"recall_at_{num}",
                reads="scores",
                each=partial(_recall, num=num),
                lacking="no two examples have the same label",
            )
            for num in (1, 10)
        ),
        *(
            Measure(name=name, reads="scores", each=each, lacking="no query has candidates of unlike relevance")
            for name, each in (
                ("ndcg_at_10", partial(candidates.ndcg, num=10)),
                ("reciprocal_rank", candidates.reciprocal_rank),
                ("candidate_recall_at_10", partial(candidates.recall, num=10)),
            )
        ),
        Measure(
            name="entity_f1",
            reads="answers",
            counts=entities.counts,
            of_counts=entities.f1,
            lacking="no label begins an entity, as B-PER does",
        ),
        Measure(
            name="token_accuracy", reads="answers", counts=_tokens, of_counts=_share, lacking="no word has a label"
        ),
        Measure(name="mse", reads="answers", each=_squared, lower_is_better=True, is_share=False),
        Measure(name="mae", reads="answers", each=_absolute, lower_is_better=True, is_share=False),
    )
}
