"""Puts a recipe together, reads it again as any recipe is read, and builds what it names, so that it is known to run.

model ─▶ subject ─┐
data ─▶ columns ──┼─▶ draft ─▶ YAML ─▶ parsed, built, exported once
texts ─▶ lengths ─┘
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from optimization.drafting import columns, lengths, student, subject, table
from optimization.drafting.draft import Draft, write
from optimization.drafting.lengths import Lengths
from optimization.drafting.subject import Subject
from optimization.drafting.task import DraftedTask
from optimization.errors import DataError, PruneError, RecipeError
from optimization.foreign import convert, onnx_teacher
from optimization.graphs import graph
from optimization.networks import models, own_head
from optimization.readers import labels, tables, text
from optimization.readers.examples import Dataset
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe
from optimization.recipe.sources import Table
from optimization.running.rehearsal import rehearse
from optimization.running.run import measured_by
from optimization.tasks.named import TASKS

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES_TO_LEARN = 60_000
"""How many examples the student is shown: as many epochs as come to it."""
_FEWEST_EPOCHS, _MOST_EPOCHS = 2, 10
_PHRASES_EACH, _MOST_PHRASES = 3, 40_000
"""Texts that are made of each training text, and of all."""
_EPOCHS_TO_TUNE = 3
_UNCUT = 1 << 20
"""More tokens than a text has."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was said on the command line; nothing where it is to be found."""

    model: str
    data: Path
    name: str | None = None
    text: str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    """What the data call the model's classes, in the order of its outputs."""
    task: DraftedTask | None = None
    output: str | None = None
    """What an ONNX file gives."""
    tokenizer: str | None = None
    held_out: Path | None = None
    validation: Path | None = None
    code: str | None = None


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A recipe that was read again, and what it names, built."""

    text: str
    recipe: Recipe
    dataset: Dataset
    draft: Draft


def compose(asked: Asked) -> Composed:
    """A recipe of what was asked for.

    Raises:
        OptimizationError: model and data do not fit together, or what to take must be said by an option.
    """
    looked_at = subject.look(asked.model, asked.code)
    frame = table.read(asked.data)
    held = {name: table.read(path) for name, path in _held(asked).items()}
    drafted = _draft(asked, looked_at, frame)
    wanted = recipe.parse(yaml.safe_load(write(drafted)))
    assert isinstance(wanted.data, Table), "it was drafted so"
    dataset = own_head.fit(wanted.teacher, tables.dataset(wanted.data, frame, held, wanted.seed))
    if looked_at.is_onnx:
        _expect_answers(Path(asked.model), dataset, wanted)
        return _composed(drafted, dataset)
    assert wanted.teacher.model is not None, "it was drafted so"
    num_phrases = min(len(dataset.train) * _PHRASES_EACH, _MOST_PHRASES) if drafted.task == "classification" else 0
    epochs = round(_EXAMPLES_TO_LEARN / (len(dataset.train) + num_phrases))
    num_layers = student.num_layers(models.build(wanted.teacher.model, dataset, wanted.seed))
    drafted = replace(
        drafted,
        num_layers=num_layers,
        keep=student.spread(num_layers),
        feed_forward=student.FEED_FORWARD,
        num_phrases=num_phrases,
        epochs=min(max(epochs, _FEWEST_EPOCHS), _MOST_EPOCHS),
    )
    try:
        return _composed(drafted, dataset)
    except PruneError as error:
        return _composed(replace(drafted, feed_forward=None, unpruned=str(error)), dataset)


def _composed(drafted: Draft, dataset: Dataset) -> Composed:
    """Read the draft as a recipe, and build what it names."""
    written = write(drafted)
    wanted = recipe.parse(yaml.safe_load(written))
    rehearse(wanted, dataset)
    return Composed(text=written, recipe=wanted, dataset=measured_by(wanted, dataset), draft=drafted)


def _draft(asked: Asked, looked_at: Subject, frame: "pd.DataFrame") -> Draft:
    """The draft, but for the student."""
    task = asked.task or looked_at.task or "classification"
    text_column = columns.text(frame, asked.text, asked.label) if looked_at.takes_text or asked.text else None
    label = columns.label(frame, asked.label, text_column, task, asked.labels or looked_at.classes)
    if text_column is None:
        columns.expect_numbers(frame, label)
    names = _classes(frame, label, task)
    _expect_classes(asked, looked_at, task, names)
    tokenizer = _tokenizer(asked, looked_at) if text_column else None
    return Draft(
        subject=looked_at,
        model=_model(asked, looked_at),
        name=asked.name or re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(asked.model).stem).strip("-._") or "model",
        data=str(asked.data),
        num_rows=len(frame),
        held_out=None if asked.held_out is None else str(asked.held_out),
        validation=None if asked.validation is None else str(asked.validation),
        text=text_column,
        label=label,
        task=task,
        classes=names,
        tokenizer=tokenizer,
        lengths=_lengths(frame, text_column, tokenizer, looked_at),
        num_cpus=len(os.sched_getaffinity(0)),
        keep=(0,),
        num_layers=1,
        feed_forward=None,
        num_phrases=0,
        epochs=1,
        epochs_to_tune=_EPOCHS_TO_TUNE,
    )


def _classes(frame: "pd.DataFrame", label: str, task: DraftedTask) -> tuple[str, ...]:
    if task == "classification":
        return tuple(map(str, tables.classes_of(frame, label)))
    return TASKS[task].names(frame[label].dropna().tolist())


def _held(asked: Asked) -> dict[str, Path]:
    given = {"held_out": asked.held_out, "validation": asked.validation}
    return {name: path for name, path in given.items() if path is not None}


def _model(asked: Asked, looked_at: Subject) -> dict[str, Any]:
    if looked_at.is_onnx:
        return {"output": asked.output} if asked.output else {}
    return subject.model_settings(looked_at, asked.labels, asked.code)


def _tokenizer(asked: Asked, looked_at: Subject) -> str:
    if asked.tokenizer is not None:
        return asked.tokenizer
    if looked_at.is_onnx:
        raise RecipeError("--tokenizer must name the tokenizer.json, folder or hub name of an ONNX file's, got none")
    return looked_at.name


def _lengths(frame: "pd.DataFrame", column: str | None, tokenizer: str | None, looked_at: Subject) -> Lengths | None:
    if column is None or tokenizer is None:
        return None
    found = text.tokenizer(tokenizer, _UNCUT)
    found.no_padding()
    return lengths.measure([str(each) for each in frame[column]], found, looked_at.max_tokens)


def _expect_classes(asked: Asked, looked_at: Subject, task: DraftedTask, names: tuple[str, ...]) -> None:
    """Check that the data's classes are the model's, by name.

    Raises:
        DataError: they are not, and nobody said what the data call them.
    """
    own = asked.labels or looked_at.classes
    if task == "regression" or not looked_at.has_classifier or looked_at.is_onnx:
        return
    if asked.labels is None and looked_at.num_outputs == 1:
        raise DataError(f"--labels must name the class below one half and the one above it, of {list(names)}, got none")
    try:
        labels.matched(names, own)
    except DataError as error:
        given = "got" if asked.labels is None else f"got --labels {','.join(asked.labels)} and"
        raise DataError(
            f"the labels must be the model's classes, which are {list(looked_at.classes)} in this order, {given} "
            f"{list(names)} in the data: say with --labels what the data call them, such as "
            f"--labels {','.join(names)} if that is the order of the model's outputs"
        ) from error


def _expect_answers(path: Path, dataset: Dataset, wanted: Recipe) -> None:
    """Check that an ONNX file takes the data, and answers what they ask.

    Raises:
        RecipeError: it does not.
        GraphError: it cannot be read.
    """
    with TemporaryDirectory(prefix="trimtab-") as folder:
        file, _ = convert.onnx_file(path, Path(folder), names=tuple(dataset.train.inputs))
        onnx_teacher.check(file, graph.read(file), dataset, wanted.teacher.output)
