"""Columns become the model's inputs, row by row: a value that does not fit marks its row and no other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from deployments.errors import RequestError, ScoringError, brief
from deployments.offline.files import Format
from deployments.offline.picture_rows import PICTURE
from deployments.offline.rows import Rows
from deployments.offline.text_rows import COLUMN
from deployments.oip.tensors import DTYPES, Array, check_finite, from_json
from optimization.artifact.manifest import Manifest, TensorSpec

_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Feed:
    """An input of the model, or its raw input, and the columns that it is made of: one, or one for each number."""

    spec: TensorSpec
    columns: tuple[str, ...]


def feeds(
    manifest: Manifest,
    raw: TensorSpec | None,
    kind: Format,
    columns: Sequence[str],
    given: Mapping[str, tuple[str, ...]],
) -> tuple[Feed, ...]:
    """What each input is made of: what is `given`, else the column of its name; raw input where it can be had.

    Raises:
        ScoringError: an input has no column, or what is given names none.
    """
    known = {spec.name: spec for spec in (*manifest.inputs, *((raw,) if raw else ()))}
    for name, named in given.items():
        if name not in known:
            raise ScoringError(f"--column must name an input of the model, {', '.join(known)}; got {name!r}")
        for column in named:
            if column not in columns:
                raise ScoringError(f"--column {name} must name columns of {_told(columns)}; got {column!r}")
    for spec in manifest.inputs:
        if not spec.shape:
            raise ScoringError(f"input {spec.name!r} must have the batch as its first dimension to be scored by rows")
    if kind in ("text", "pictures"):
        if given:
            raise ScoringError(f"--column is for files that have columns, got {', '.join(given)} for {kind}")
        texts = [spec for spec in manifest.inputs if spec.datatype == "BYTES"] if len(manifest.inputs) == 1 else []
        if not (raw or texts):
            raise ScoringError(
                f"model {manifest.name!r} takes no raw input: --input must hold its tensors, {', '.join(known)}"
            )
        return (Feed(spec=raw or texts[0], columns=(COLUMN if kind == "text" else PICTURE,)),)
    found = {name: given.get(name) or ((name,) if name in columns else ()) for name in known}
    if raw and found[raw.name] and not any(spec.name in given for spec in manifest.inputs):
        return (Feed(spec=raw, columns=found[raw.name]),)
    lacking = [spec.name for spec in manifest.inputs if not found[spec.name]]
    if lacking:
        raise ScoringError(
            f"input {lacking[0]!r} of model {manifest.name!r} has no column of its name among {_told(columns)}: "
            f"say which with --column {(raw.name if raw else lacking[0])}=NAME"
        )
    return tuple(Feed(spec=spec, columns=found[spec.name]) for spec in manifest.inputs)


def fed(feed: Feed, rows: Rows) -> list[Array | None]:
    """The input's tensor for each row, without the batch dimension; what is wrong is noted in the rows' errors."""
    columns = [rows.values[name] for name in feed.columns]
    if len(columns) == 1 and isinstance(columns[0], pa.Array):
        fast = _whole_column(feed.spec, columns[0])
        if fast is not None:
            return fast
    lists = [column.to_pylist() if isinstance(column, pa.Array) else column for column in columns]
    tensors: list[Array | None] = []
    for at, values in enumerate(zip(*lists, strict=True)):
        tensor = None
        if rows.errors[at] is None:
            try:
                tensor = _tensor(feed, values)
            except RequestError as error:
                rows.errors[at] = str(error)
        tensors.append(tensor)
    return tensors


def _tensor(feed: Feed, values: Sequence[Any]) -> Array:
    spec = feed.spec
    for column, value in zip(feed.columns, values, strict=True):
        if value is None or (value == "" and spec.datatype != "BYTES"):
            raise RequestError(f"input {spec.name!r}: column {column!r} has no value")
    parsed = [_parsed(spec, value) for value in values]
    data = parsed[0] if len(parsed) == 1 else parsed
    shape = _fitting(spec, _shape(data))
    if spec.datatype == "BYTES":
        return _bytes(spec, shape, data)
    tensor = from_json(spec.name, spec.datatype, shape, data if isinstance(data, list) else [data])
    check_finite(spec.name, tensor)
    return tensor


def _parsed(spec: TensorSpec, value: Any) -> Any:
    """A number that a text stands for, where the model takes numbers; a list may stand there as JSON."""
    if not isinstance(value, str) or spec.datatype == "BYTES":
        return value
    text = value.strip()
    try:
        if text.startswith("["):
            return orjson.loads(text)
        if spec.datatype == "BOOL":
            return _TRUTHS[text.lower()]
        return float(text) if DTYPES[spec.datatype].kind in "fV" else int(text)
    except (ValueError, KeyError):
        raise RequestError(f"input {spec.name!r}: {spec.datatype} cannot hold {brief(value)}") from None


def _shape(data: Any) -> list[int]:
    shape = []
    while isinstance(data, list):
        shape.append(len(data))
        data = data[0] if data else None
    return shape


def _fitting(spec: TensorSpec, shape: Sequence[int]) -> list[int]:
    """The shape of a row's tensor; elements may come flat where the model's shape is fixed."""
    wanted = spec.shape[1:]
    fixed = [size for size in wanted if isinstance(size, int)]
    if len(fixed) == len(wanted) and math.prod(fixed) == math.prod(shape):
        return fixed
    if len(shape) == len(wanted) and all(isinstance(w, str) or w == s for w, s in zip(wanted, shape, strict=True)):
        return list(shape)
    raise RequestError(f"input {spec.name!r} must have the shape {list(wanted)} in a row, got {list(shape)}")


def _bytes(spec: TensorSpec, shape: Sequence[int], data: Any) -> Array:
    flat = np.array(data, dtype=object).ravel() if isinstance(data, list) else [data]
    tensor = np.empty(len(flat), dtype=object)
    for at, element in enumerate(flat):
        if not isinstance(element, str | bytes):
            raise RequestError(f"input {spec.name!r}: BYTES takes texts or bytes, got {brief(element)}")
        tensor[at] = element.encode() if isinstance(element, str) else element
    return tensor.reshape(shape)


def _whole_column(spec: TensorSpec, column: pa.Array) -> list[Array | None] | None:
    """All rows at once, where nothing can be wrong with any of them; none where they must be looked at one by one."""
    wanted, lengths = spec.shape[1:], None
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        if column.null_count or len(wanted) != 1:
            return None
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        column = column.flatten()
        if isinstance(wanted[0], int) and (lengths != wanted[0]).any():
            return None
    elif wanted:
        return None
    if column.null_count or not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return None
    array, dtype = column.to_numpy(zero_copy_only=False), DTYPES[spec.datatype]
    if not (np.can_cast(array.dtype, dtype) or dtype.kind == "f"):
        return None
    with np.errstate(over="ignore"):
        array = array.astype(dtype, copy=False)
    if dtype.kind == "f" and not np.isfinite(array).all():
        return None
    if lengths is None:
        return [np.asarray(each) for each in array]
    return list(np.split(array, np.cumsum(lengths)[:-1]))


def _told(columns: Sequence[str]) -> str:
    return f"{', '.join(columns[:20])}{', ...' if len(columns) > 20 else ''}" or "none"
