"""Inputs of a model that are rows of tables: requests name the rows by ids, which are looked up before batching, while
other requests compute.

    ids -> rows -> answer cache, batcher -> model
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Protocol, TypeVar

import numpy as np

from deployments.embeddings.owners import Ids
from deployments.embeddings.table import Table, Values
from deployments.errors import DeadlineError, RequestError, SettingsError, UnavailableError
from deployments.execution.byte_budget import ByteBudget
from deployments.oip.tensors import Array
from deployments.oip.urgency import Urgency
from deployments.settings import TableInput
from optimization.artifact.manifest import Manifest, SplitInput, TensorSpec

_T = TypeVar("_T")
_ROWS = {"FP32": np.float32, "FP16": np.float16}


class ReadTable(Protocol):
    """A table that another application holds."""

    table: Table | None
    """None until it was found."""

    def start(self) -> None:
        """Look for it from now on; needs a running event loop."""

    def problem(self) -> str | None:
        """Why it cannot be read at the moment, if so."""

    async def lookup(self, ids: Ids) -> Values:
        """The rows of `ids`, whatever their shape: [*ids, width].

        Raises:
            RequestError: an id is unknown.
            UnavailableError: it cannot be read.
        """


@dataclass(frozen=True, kw_only=True)
class EmbeddedInput:
    """One input of a model."""

    rows: TensorSpec
    """What the model takes, [*ids, width]."""
    ids: TensorSpec
    """What a request names in its place."""
    table: str
    num_rows: int
    """Rows that the table must have at least."""

    def check(self, table: Table) -> None:
        """Whether rows of `table` are what the model takes.

        Raises:
            SettingsError: they are not.
        """
        width = self.rows.shape[-1]
        if isinstance(width, int) and width != table.width:
            raise SettingsError(
                f"embeddings.{self.rows.name}: the model takes rows of width {width}, table {table.name!r} has width "
                f"{table.width}"
            )
        if table.rows < self.num_rows:
            raise SettingsError(
                f"embeddings.{self.rows.name}: the model was split from a table of {self.num_rows} rows, table "
                f"{table.name!r} has {table.rows}"
            )


def embedded_inputs(manifest: Manifest, tables: Mapping[str, TableInput]) -> tuple[EmbeddedInput, ...]:
    """What `tables`, by the name of a model's input, make of its inputs.

    Raises:
        SettingsError: the model has no such input, or one that cannot be rows.
    """
    inputs = {spec.name: spec for spec in manifest.inputs}
    split = {each.rows: each for each in manifest.embeddings}
    found = []
    for name, given in tables.items():
        rows = inputs.get(name)
        if rows is None:
            raise SettingsError(f"embeddings must name inputs of {manifest.name!r}, {', '.join(inputs)}; got {name!r}")
        if rows.datatype not in _ROWS or len(rows.shape) < 2:
            raise SettingsError(
                f"embeddings.{name} must be an input of FP32 or FP16 with two dimensions or more, got {rows.datatype} "
                f"{list(rows.shape)}"
            )
        found.append(
            EmbeddedInput(
                rows=rows,
                ids=_ids(rows, given.ids, split.get(name), inputs),
                table=given.table,
                num_rows=split[name].num_rows if name in split else 1,
            )
        )
    if found and manifest.preprocessing is not None:
        raise SettingsError(f"embeddings: {manifest.name!r} takes raw input, whose ids are not known before batching")
    return tuple(found)


def _ids(rows: TensorSpec, name: str | None, split: SplitInput | None, inputs: Mapping[str, TensorSpec]) -> TensorSpec:
    """What a request carries in place of `rows`; one of `inputs` may be looked up and reach the model as well."""
    name = name or (split.ids.name if split else None)
    if name is None or name == rows.name:
        raise SettingsError(
            f"embeddings.{rows.name}.ids must name what requests carry in place of the rows, got {name!r}"
        )
    usual = split.ids if split else TensorSpec(name=name, datatype="INT64", shape=rows.shape[:-1])
    ids = inputs.get(name, usual.model_copy(update={"name": name}))
    if ids.datatype not in ("INT64", "INT32") or len(ids.shape) != len(rows.shape) - 1:
        raise SettingsError(
            f"embeddings.{rows.name}.ids must be INT64 or INT32 of a dimension less than {list(rows.shape)}, got "
            f"{ids.datatype} {list(ids.shape)}"
        )
    return ids


class EmbeddedInputs:
    """The inputs of one model, filled from tables. All methods belong to one event loop."""

    def __init__(
        self,
        manifest: Manifest,
        inputs: Sequence[EmbeddedInput],
        tables: Mapping[str, ReadTable],
        *,
        max_rows_bytes: int,
    ) -> None:
        """`tables` by name; `max_rows_bytes` is what rows of the requests under way may take."""
        self._inputs = inputs
        self._tables = tables
        self._taken = {spec.name for spec in manifest.inputs}
        self._budget = ByteBudget(max_rows_bytes)
        ids = {each.rows.name: each.ids for each in inputs}
        shown = {spec.name: spec for spec in (ids.get(spec.name, spec) for spec in manifest.inputs)}
        self.manifest = manifest.model_copy(update={"inputs": tuple(shown.values())})
        """The model's as clients see it, with ids in place of rows."""

    def start(self) -> None:
        """Look for the tables from now on."""
        for each in self._inputs:
            self._tables[each.table].start()

    def problem(self) -> str | None:
        """Why the model cannot answer at the moment, if a table is in the way."""
        for each in self._inputs:
            table = self._tables[each.table]
            if problem := table.problem():
                return problem
            assert table.table is not None, "it was found"
            try:
                each.check(table.table)
            except SettingsError as error:
                return str(error)
        return None

    async def answered(
        self,
        tensors: Mapping[str, Array],
        urgency: Urgency,
        predict: Callable[[Mapping[str, Array], Urgency], Awaitable[_T]],
    ) -> _T:
        """What `predict` makes of `tensors` with rows in place of ids, within what is left of the time.

        Raises:
            RequestError: ids are missing or unknown.
            OverloadedError: rows of other requests take too much.
            UnavailableError: a table cannot be read.
            DeadlineError: the time passed meanwhile.
        """
        if problem := self.problem():
            raise UnavailableError(problem)
        ids = {each.rows.name: _given(each, tensors) for each in self._inputs}
        num_bytes = sum(ids[each.rows.name].size * self._row_bytes(each) for each in self._inputs)
        self._budget.reserve(num_bytes)
        try:
            began = monotonic()
            rows = await asyncio.gather(*(self._rows(each, ids[each.rows.name]) for each in self._inputs))
            fed = {name: tensor for name, tensor in tensors.items() if name in self._taken}
            fed |= {each.rows.name: found for each, found in zip(self._inputs, rows, strict=True)}
            return await predict(fed, _later(urgency, monotonic() - began))
        finally:
            self._budget.release(num_bytes)

    async def _rows(self, each: EmbeddedInput, ids: Ids) -> Array:
        found = await self._tables[each.table].lookup(ids)
        return found.astype(_ROWS[each.rows.datatype], copy=False)

    def _row_bytes(self, each: EmbeddedInput) -> int:
        table = self._tables[each.table].table
        assert table is not None, "it was found"
        return table.width * np.dtype(_ROWS[each.rows.datatype]).itemsize


def _given(each: EmbeddedInput, tensors: Mapping[str, Array]) -> Ids:
    ids = tensors.get(each.ids.name)
    if ids is None:
        raise RequestError(f"input {each.ids.name!r} is missing: its rows are looked up in table {each.table!r}")
    return ids.astype(np.int64, copy=False)


def _later(urgency: Urgency, passed_s: float) -> Urgency:
    if urgency.timeout_s is None:
        return urgency
    if urgency.timeout_s <= passed_s:
        raise DeadlineError(f"the request must be answered within {urgency.timeout_s:g} s: its rows took longer")
    return replace(urgency, timeout_s=urgency.timeout_s - passed_s)
