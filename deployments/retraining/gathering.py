"""Rows to learn from: what was sampled since the cause of an alert, labelled by feedback, else by the teacher.

The folder that is made has `train.npz` and `held_out.npz` (the model's inputs by name, and `label`), and where the
model has one input, the same as `train.parquet` and `held_out.parquet`: columns `x0`, `x1`, ... or `text`, and `label`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from deployments.monitoring import sample_files
from deployments.oip.tensors import Array
from deployments.retraining.answers import Answers

logger = logging.getLogger(__name__)

TRAIN, HELD_OUT = "train", "held_out"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows without a bad one among them, each with its class."""

    inputs: Mapping[str, Sequence[Array]]
    labels: NDArray[np.int64]
    version: str
    """That answered the latest."""
    num_feedback: int
    """Rows whose label a person or another system gave; the teacher gave the others."""


def gathered(folder: Path, *, since_s: float, most: int, teacher: Answers | None) -> Rows | None:
    """The latest rows of a model's samples; none where there are none."""
    requests, labels, version = _sampled(folder, since_s)
    names = sorted({name for each in requests for name in each.inputs})
    rows: dict[str, list[Array]] = {name: [] for name in names}
    known: list[int | None] = []
    for each in reversed(requests):
        if each.inputs.keys() != set(names):
            continue
        for row in range(min(len(array) for array in each.inputs.values())):
            for name in names:
                rows[name].append(each.inputs[name][row])
            known.append(labels.get((each.request_id, row)) if each.request_id else None)
        if len(known) >= most:
            break
    answered = teacher.classes(rows) if teacher is not None and known else [None] * len(known)
    final = [label if label is not None else answer for label, answer in zip(known, answered, strict=True)]
    good = [at for at, label in enumerate(final) if label is not None][:most]
    if not good:
        return None
    return Rows(
        inputs={name: [column[at] for at in good] for name, column in rows.items()},
        labels=np.array([final[at] for at in good], np.int64),
        version=version,
        num_feedback=sum(known[at] is not None for at in good),
    )


def num_sampled(folder: Path, *, since_s: float) -> int:
    """How many rows there are, whoever labels them."""
    requests, _, _ = _sampled(folder, since_s)
    return sum(len(next(iter(each.inputs.values()))) for each in requests)


def written(rows: Rows, folder: Path, *, held_out: float, seed: int) -> tuple[int, int]:
    """Write them for a recipe; how many are to learn from, and how many are held out."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(rows.labels))
    num_held_out = max(1, round(held_out * len(order)))
    for name, places in ((HELD_OUT, order[:num_held_out]), (TRAIN, order[num_held_out:])):
        _write(rows, places, folder / name)
    return len(order) - num_held_out, num_held_out


def read(path: Path) -> tuple[dict[str, list[Array]], NDArray[np.int64]]:
    """Inputs and labels of a file that was `written`."""
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
        arrays = dict(file)
    labels = arrays.pop("label")
    return {name: list(array) for name, array in arrays.items()}, labels


def _sampled(folder: Path, since_s: float) -> tuple[list[sample_files.Sampled], dict[tuple[str, int], int], str]:
    """Requests sampled since then, all labels, and the version of the latest; a file that is damaged is left out."""
    requests: list[sample_files.Sampled] = []
    labels: dict[tuple[str, int], int] = {}
    version = ""
    for path in sorted(folder.glob("*.npz")):
        try:
            of, sampled, labelled = sample_files.read(path)
        except ValueError as error:
            logger.warning("left out: %s", error)
            continue
        labels |= {(each.request_id, each.row): each.label for each in labelled}
        fresh = [each for each in sampled if each.at_s >= since_s]
        version = of if fresh else version
        requests += fresh
    return sorted(requests, key=lambda each: each.at_s), labels, version


def _write(rows: Rows, places: NDArray[np.int64], path: Path) -> None:
    labels = rows.labels[places]
    arrays = {name: _stacked([column[at] for at in places]) for name, column in rows.inputs.items()}
    np.savez_compressed(path.with_suffix(".npz"), allow_pickle=False, label=labels, **arrays)
    if len(arrays) != 1:
        return
    (array,) = arrays.values()
    if array.dtype.kind == "U":
        columns: dict[str, NDArray[np.generic]] = {"text": array.ravel()}
    else:
        columns = {f"x{index}": column for index, column in enumerate(array.reshape(len(array), -1).T)}
    pyarrow.parquet.write_table(pyarrow.table({**columns, "label": labels}), path.with_suffix(".parquet"))


def _stacked(column: Sequence[Array]) -> NDArray[np.generic]:
    """Rows of one shape as one array, texts as such."""
    if isinstance(column[0], bytes | str) or np.asarray(column[0]).dtype == object:
        texts = [np.asarray(each).ravel()[0] for each in column]
        return np.array([each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in texts])
    return np.stack(column)
