"""Finds the column of text and the one of labels; where more than one could be meant, all are named and none is taken.

Texts are mostly different from row to row; classes come again and again.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optimization.drafting.task import DraftedTask
from optimization.errors import DataError
from optimization.readers import labels
from optimization.tasks.named import TASKS

if TYPE_CHECKING:
    import pandas as pd

_DIFFERENT = 0.5
"""Least share of the rows that are unlike all others, in a column of texts."""
_MOST_CLASSES = 200
_ROWS_EACH = 2
"""Fewest rows of a class, on average: each must be learned from, and held out."""


def text(frame: "pd.DataFrame", given: str | None, label: str | None) -> str:
    """The column of text: the one that was `given`, else the only one that can be.

    Raises:
        DataError: there is no such column, or not exactly one.
    """
    if given is not None:
        return _known(frame, given, "--text")
    candidates = [name for name in frame.columns if name != label and _is_text(frame[name])]
    return _only(candidates, frame, "--text", "texts, which differ from row to row")


def label(frame: "pd.DataFrame", given: str | None, text: str | None, task: DraftedTask, classes: Sequence[str]) -> str:
    """The column of labels; `classes` are those that the model came with, by whatever names the data may have.

    Raises:
        DataError: there is no such column, or not exactly one.
    """
    if given is not None:
        return _known(frame, given, "--label")
    candidates = [name for name in frame.columns if name != text and _is_label(frame[name], task)]
    named = [name for name in candidates if _has_classes(frame[name], task, classes)]
    sought = {
        "classification": f"classes, of which there are 2 to {_MOST_CLASSES} and {_ROWS_EACH} rows of each or more",
        "multi_label": "labels, as a list or with | between them",
        "regression": "numbers",
    }
    return _only(named if len(named) == 1 else candidates, frame, "--label", sought[task])


def expect_numbers(frame: "pd.DataFrame", label: str) -> None:
    """Check that all columns but the label hold numbers.

    Raises:
        DataError: one does not.
    """
    others = [name for name in frame.columns if name != label and frame[name].dtype.kind not in "biuf"]
    if others:
        raise DataError(f"columns beside the label must hold numbers, got {_listed(others)}: name a text with --text")


def _is_text(column: "pd.Series") -> bool:
    return _is_words(column) and bool(column.nunique() >= max(2, _DIFFERENT * len(column)))


def _is_label(column: "pd.Series", task: DraftedTask) -> bool:
    match task:
        case "regression":
            return column.dtype.kind in "iuf"
        case "multi_label":
            is_list = column.map(lambda each: isinstance(each, list | tuple | np.ndarray)).all()
            return bool(is_list) or (_is_words(column) and bool(column.str.contains("|", regex=False).any()))
        case "classification":
            if column.dtype.kind == "f" and not (column.dropna() % 1 == 0).all():
                return False
            num = int(column.astype(str).nunique())
            return 2 <= num <= min(_MOST_CLASSES, len(column) // _ROWS_EACH)


def _has_classes(column: "pd.Series", task: DraftedTask, classes: Sequence[str]) -> bool:
    """Whether all that it names is among the model's."""
    names = TASKS[task].names(column.dropna().tolist())
    return bool(names) and {*map(labels.key, names)} <= {*map(labels.key, classes)}


def _is_words(column: "pd.Series") -> bool:
    return column.dtype.kind in "OTU" and bool(column.dropna().map(lambda each: isinstance(each, str)).all())


def _known(frame: "pd.DataFrame", name: str, option: str) -> str:
    if name not in frame.columns:
        raise DataError(f"{option} must be one of the columns {_listed(frame.columns)}, got {name!r}")
    return name


def _only(candidates: Sequence[str], frame: "pd.DataFrame", option: str, what: str) -> str:
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise DataError(f"{option} must say which column holds {what}; it could be {_listed(candidates)}")
    raise DataError(
        f"{option} must name the column of {what}; by what they hold, none of {_listed(frame.columns)} can be"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
