"""What the model gave, as columns: a label and its probability for a classifier that has labels, else tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from deployments.errors import ScoringError
from deployments.oip.tensors import DTYPES, Array
from optimization.artifact.manifest import Manifest, TensorSpec

ERROR = "error"
_PREFIX = "predicted_"
Rows = Sequence[Array | None]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A column of the output that an output of the model becomes."""

    column: str
    output: str
    type: pa.DataType
    make: Callable[[Rows], pa.Array]


def answers(manifest: Manifest, kept: Sequence[str]) -> list[Answer]:
    """The columns that follow those `kept` of the input; one whose name is taken gets the prefix `predicted_`.

    Raises:
        ScoringError: that is taken, too, or a kept column is called as the column of errors is.
    """
    found: list[Answer] = []
    labels = manifest.labels or ()
    for spec in manifest.outputs:
        if labels and not any(each.column == "label" for each in found) and _is_of_classes(spec, len(labels)):
            found.append(_label(spec, labels))
            if spec.meaning is not None:
                found.append(_probability(spec))
                continue
        found.append(_tensor(spec))
    taken = {*kept, ERROR}
    if ERROR in kept:
        raise ScoringError(f"column {ERROR!r} of the input has the name of one that is written: leave it out of --keep")
    named = []
    for each in found:
        name = each.column if each.column not in taken else _PREFIX + each.column
        if name in taken:
            raise ScoringError(f"columns {each.column!r} and {name!r} of the input are written too: use --keep")
        taken.add(name)
        named.append(Answer(column=name, output=each.output, type=each.type, make=each.make))
    return named


def columns(wanted: Sequence[Answer], outputs: Mapping[str, Rows]) -> dict[str, pa.Array]:
    """The columns, by name."""
    return {each.column: each.make(outputs[each.output]) for each in wanted}


def _is_of_classes(spec: TensorSpec, num_labels: int) -> bool:
    is_binary = num_labels == 2 and spec.meaning is not None and spec.shape[1:] == (1,)
    numbers = spec.datatype not in ("BYTES", "BOOL") and spec.meaning in ("logits", "probabilities", None)
    return numbers and (spec.shape[1:] == (num_labels,) or is_binary)


def _label(spec: TensorSpec, labels: Sequence[str]) -> Answer:
    def make(rows: Rows) -> pa.Array:
        return pa.array([None if row is None else labels[_class(spec, row)] for row in rows], pa.string())

    return Answer(column="label", output=spec.name, type=pa.string(), make=make)


def _probability(spec: TensorSpec) -> Answer:
    def make(rows: Rows) -> pa.Array:
        return pa.array([None if row is None else _probabilities(spec, row).max() for row in rows], pa.float32())

    return Answer(column="probability", output=spec.name, type=pa.float32(), make=make)


def _class(spec: TensorSpec, row: Array) -> int:
    return int(np.argmax(row if spec.meaning is None else _probabilities(spec, row)))


def _probabilities(spec: TensorSpec, row: Array) -> Array:
    """Of each class; one number is that of the second of two."""
    numbers = row.astype(np.float64)
    if spec.meaning == "logits":
        numbers = np.concatenate([[0.0], numbers]) if len(numbers) == 1 else numbers
        powers = np.exp(numbers - numbers.max())
        return np.asarray(powers / powers.sum())
    return np.array([1 - numbers[0], numbers[0]]) if len(numbers) == 1 else numbers


def _tensor(spec: TensorSpec) -> Answer:
    kind = pa.string() if spec.datatype == "BYTES" else pa.from_numpy_dtype(_numpy(spec))
    for _ in spec.shape[1:]:
        kind = pa.list_(kind)

    def make(rows: Rows) -> pa.Array:
        if len(spec.shape) == 2 and spec.datatype != "BYTES":
            return _lists(rows, _numpy(spec), kind)
        values = [None if row is None else np.asarray(row, _numpy(spec)).tolist() for row in rows]
        return pa.array(values, kind)

    return Answer(column=spec.name, output=spec.name, type=kind, make=make)


def _lists(rows: Rows, dtype: np.dtype[Any], kind: pa.DataType) -> pa.Array:
    """The same, without an object of Python for each number."""
    present = [np.asarray(row, dtype) for row in rows if row is not None]
    flat = np.concatenate(present) if present else np.empty(0, dtype)
    ends = np.cumsum([0 if row is None else len(row) for row in rows])
    missing = np.array([row is None for row in rows] + [False])
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32), mask=missing)
    return pa.ListArray.from_arrays(offsets, pa.array(flat), type=kind)


def _numpy(spec: TensorSpec) -> np.dtype[Any]:
    """What Arrow can hold; it knows no bfloat16."""
    return np.dtype(np.float32) if spec.datatype == "BF16" else DTYPES[spec.datatype]
