"""Makes a cascade of a student and its teacher: the student's next version says when it is sure enough.

validation ─┬▶ some of it ─▶ temperature.fit
            └▶ the others ─▶ threshold.choose ─▶ held out, read once ─▶ store.publish
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.artifact import cascade, store
from optimization.artifact.cascade import Cascade, Form, OnHeldOut, Point, Share
from optimization.artifact.manifest import Manifest, TextPreprocessing
from optimization.artifact.store import Artifact, ArtifactError
from optimization.cascade import temperature, threshold
from optimization.errors import CascadeError
from optimization.measuring import evaluate, latency, paired
from optimization.measuring.paired import Pairs
from optimization.readers.examples import Dataset, Split
from optimization.recipe.recipe import Recipe
from optimization.report import compare, page, terminal

TEMPERATURE_SHARE, MOST_FOR_TEMPERATURE = 0.25, 1000
"""Validation examples that fit the temperature: one number needs few. The others choose the threshold."""
CURVE_POINTS = 41
_OWN = frozenset(("schema_version", "version", "created", "files", "cascade"))
"""What a version's manifest does not take over from the one before."""


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """What both models answer to the same examples."""

    logits: NDArray[np.float64]
    """The student's, of shape [samples, outputs]."""
    student_right: NDArray[np.bool_]
    teacher_right: NDArray[np.bool_]
    labels: NDArray[np.int64]

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Examples that are lost where the student answers them itself."""
        return self.teacher_right & ~self.student_right

    def take(self, rows: NDArray[np.int64]) -> "_Answers":
        """Those examples alone."""
        return _Answers(
            logits=self.logits[rows],
            student_right=self.student_right[rows],
            teacher_right=self.teacher_right[rows],
            labels=self.labels[rows],
        )


def calibrate(
    student: Artifact, teacher: Artifact, *, max_loss: float, confidence: float, wanted: Recipe | None = None
) -> Artifact:
    """Publish the student's next version, which says when it is sure enough to answer without the teacher.

    At most a share of `max_loss` is lost, with that `confidence`. The data are those of the recipe that made the
    student or the teacher, or of `wanted`, of whose validation and held-out examples neither model may have learned.

    Raises:
        CascadeError: they are no two classifiers of the same, there are too few validation examples for the budget, or
            no threshold keeps it.
        CompareError: they were not made from the same data, or the data have changed.
    """
    if not 0 < max_loss < 1:
        raise CascadeError(f"--max-loss must lie in (0, 100) points, got {100 * max_loss:g}")
    if not 0.5 <= confidence < 1:
        raise CascadeError(f"--confidence must lie in [0.5, 1), got {confidence:g}")
    form = _form(student, teacher)
    dataset = compare.dataset_of(student, teacher, wanted)
    if dataset.task.kind != "classification":
        raise CascadeError(f"a cascade is for classification, got data for {dataset.task.kind}")
    answers = _answers(student, teacher, form, dataset, dataset.validation.labelled())
    num = len(answers.labels)
    num_temperature = min(MOST_FOR_TEMPERATURE, int(TEMPERATURE_SHARE * num))
    if num - num_temperature < threshold.num_needed(max_loss, confidence):
        raise CascadeError(_too_few(num, num - num_temperature, max_loss, confidence))
    order = np.random.default_rng(0).permutation(num)
    fitting, choosing = answers.take(order[:num_temperature]), answers.take(order[num_temperature:])
    fitted = temperature.fit(fitting.logits, fitting.labels)
    chosen = threshold.choose(
        cascade.confidence(choosing.logits, fitted), choosing.lost, max_loss=max_loss, confidence=confidence
    )
    if chosen is None:
        raise CascadeError(
            f"no threshold keeps a loss of at most {terminal.points(max_loss)}: the student is wrong where its teacher "
            f"is right even among its surest answers ({int(choosing.lost.sum())} of {len(choosing.labels)} validation "
            "examples in all); allow more by --max-loss, or make a better student"
        )
    held_out = _answers(student, teacher, form, dataset, dataset.held_out.labelled())
    sure = cascade.confidence(held_out.logits, fitted)
    timed = latency.measure({"student": student.model_path, "teacher": teacher.model_path}, dataset.held_out)
    found = Cascade(
        teacher=f"{teacher.manifest.name}/{teacher.manifest.version}",
        form=form,
        temperature=fitted,
        threshold=chosen.threshold,
        max_loss=max_loss,
        confidence=confidence,
        bound=chosen.bound,
        num_lost=chosen.num_lost,
        num_samples=len(choosing.labels),
        num_temperature=num_temperature,
        held_out=_on_held_out(held_out, sure, chosen.threshold),
        student_s={size: each.median_s for size, each in timed["student"].items()},
        teacher_s={size: each.median_s for size, each in timed["teacher"].items()},
    )
    return _publish(student, found)


def _form(student: Artifact, teacher: Artifact) -> Form:
    """What the first output of both is.

    Raises:
        CascadeError: they are no classifiers, or do not give the same.
    """
    for each in (student.manifest, teacher.manifest):
        if each.task not in (None, "classification") or each.stream is not None:
            kind = each.task if each.stream is None else "a model that answers step by step"
            raise CascadeError(f"a cascade is of two classifiers, got {each.name} {each.version}: {kind}")
        if len(each.outputs[0].shape) != 2:
            shape = list(each.outputs[0].shape)
            rule = "the first output of a classifier must be of shape [batch, outputs]"
            raise CascadeError(f"{rule}, got {shape} of {each.name} {each.version}")
    if student.path.resolve() == teacher.path.resolve():
        raise CascadeError(f"student and teacher must be two artifacts, got {student.path} twice")
    one, other = student.manifest.labels, teacher.manifest.labels
    if one is not None and other is not None and one != other:
        raise CascadeError(f"both must have the same classes in the same order, got {list(one)} and {list(other)}")
    if _preparation(student) != _preparation(teacher):
        raise CascadeError("both must make the same tensors of raw input, got other preprocessing or another tokenizer")
    forms = [compare.output(each) for each in (student, teacher)]
    match forms:
        case ["logits", "logits"]:
            return "logits"
        case ["probabilities", "probabilities"]:
            return "probabilities"
    raise CascadeError(
        f"both must give logits or both probabilities, since the rows of one answer come from both, got {forms[0]} of "
        f"the student and {forms[1]} of the teacher"
    )


def _preparation(artifact: Artifact) -> tuple[object, object]:
    """How raw input becomes tensors, with the tokenizer by its digest."""
    how, files = artifact.manifest.preprocessing, artifact.manifest.files
    return how, files.get(how.tokenizer) if isinstance(how, TextPreprocessing) else None


def _answers(student: Artifact, teacher: Artifact, form: Form, dataset: Dataset, split: Split) -> _Answers:
    task = dataset.task
    # Read as probabilities, outputs stay as they are, which is how replicas see them.
    outputs = [evaluate.predict(each.model_path, split, task, "probabilities") for each in (student, teacher)]
    right = [task.right(task.answers(task.read(each, form)), split.labels) for each in outputs]
    return _Answers(
        logits=cascade.logits(outputs[0], form), student_right=right[0], teacher_right=right[1], labels=split.labels
    )


def _too_few(num: int, num_choosing: int, max_loss: float, confidence: float) -> str:
    needed = threshold.num_needed(max_loss, confidence)
    total = needed + min(MOST_FOR_TEMPERATURE, int(needed * TEMPERATURE_SHARE / (1 - TEMPERATURE_SHARE)) + 1)
    text = (
        f"there must be {total:,} validation examples to show that at most {terminal.points(max_loss)} are lost, with "
        f"{100 * confidence:g} % confidence, got {num:,}: make both models with a larger data.validation, or name more "
        "labelled examples by --recipe"
    )
    if not num_choosing:
        return text
    provable = max(threshold.upper_bound(0, num_choosing, confidence), 1 / (num_choosing + 1))
    return f"{text}; these can show {100 * provable:.2g} points at best"


def _on_held_out(answers: _Answers, confidences: NDArray[np.float64], least: float) -> OnHeldOut:
    sent = ~(confidences >= least)
    right = np.where(sent, answers.teacher_right, answers.student_right)
    pairs = Pairs.of(answers.teacher_right, right)
    low, high = paired.interval(pairs)
    return OnHeldOut(
        num_samples=len(sent),
        student=_share(answers.student_right),
        teacher=_share(answers.teacher_right),
        cascade=_share(right),
        sent=_share(sent),
        lost=_share(answers.lost & ~sent),
        drop=Share(value=pairs.drop, low=low, high=high),
        curve=_curve(answers, confidences),
    )


def _curve(answers: _Answers, confidences: NDArray[np.float64]) -> tuple[Point, ...]:
    """What comes of sending on the least sure, from none to all; those that are equally sure go together."""
    num = len(confidences)
    levels = np.unique(confidences)
    levels = levels[np.unique(np.linspace(0, len(levels) - 1, CURVE_POINTS - 1).round().astype(np.int64))]
    found = []
    for least in (*levels.tolist(), np.inf):
        sent = ~(confidences >= least)
        right = np.where(sent, answers.teacher_right, answers.student_right)
        found.append(Point(share_sent=float(sent.sum()) / num, accuracy=float(right.mean())))
    return tuple(found)


def _share(hits: NDArray[np.bool_]) -> Share:
    low, high = evaluate.wilson(int(hits.sum()), len(hits))
    return Share(value=float(hits.mean()), low=low, high=high)


def _publish(student: Artifact, found: Cascade) -> Artifact:
    """The student's files as they are, under its next version."""
    before = student.manifest
    kept = {name: entry for name, entry in before.files.items() if name != store.REPORT}

    def unchanged(staged: Artifact) -> None:
        for name, entry in kept.items():
            if staged.manifest.files[name] != entry:
                raise ArtifactError(f"{name} of {student.path} was changed while it was copied: nothing is published")

    fields: Mapping[str, object] = {name: getattr(before, name) for name in Manifest.model_fields if name not in _OWN}
    return store.publish(
        student.path.parents[1],
        {name: student.path / name for name in kept},
        {store.REPORT: page.render},
        check=unchanged,
        **fields,
        cascade=found,
    )
