"""Finds where a graph looks rows of a table up by ids that its caller gives.

initializer [rows, width] (-> DequantizeLinear) -> Gather by ids (-> DequantizeLinear) -> the rest
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx
from onnx import TensorProto, helper

from optimization.errors import GraphError

logger = logging.getLogger(__name__)

LARGE_BYTES = 2**20
"""A table is split off where it is named, or takes so much."""
_PASSED = ("Identity", "Cast")
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_BYTES = (TensorProto.INT8, TensorProto.UINT8)


@dataclass(frozen=True, kw_only=True)
class Dequantized:
    """How 8-bit numbers become rows: names of initializers."""

    scale: str
    zero_point: str | None
    axis: int


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """Rows of one table by one input."""

    table: str
    """Its initializer."""
    ids: str
    """The graph's input."""
    rows: str
    """The value that is the rows."""
    nodes: tuple[int, ...]
    """Places of the nodes that make them."""
    dequantized: Dequantized | None = None


def find(model: onnx.ModelProto, names: tuple[str, ...] = ()) -> list[Lookup]:
    """The look-ups in tables that `names` name, or in all large ones that can be split off.

    Raises:
        GraphError: there is none, or one that is named cannot be split off; the message says which and why.
    """
    graph = _Graph(model)
    tables = {
        each.name: each for each in model.graph.initializer if len(each.dims) == 2 and graph.is_looked_up(each.name)
    }
    wanted = names or tuple(name for name, each in tables.items() if _size_bytes(each) >= LARGE_BYTES)
    known = ", ".join(f"{name} {list(each.dims)}" for name, each in tables.items()) or "none"
    if not wanted:
        raise GraphError(
            f"the graph must have a Gather over a table of {LARGE_BYTES} bytes or more; tables that are looked up: "
            f"{known}; --table splits a smaller one off"
        )
    if unknown := [name for name in wanted if name not in tables]:
        raise GraphError(f"--table must name a table that is looked up, {known}; got {', '.join(unknown)}")
    found: list[Lookup] = []
    problems: list[GraphError] = []
    for name in wanted:
        try:
            found += list(graph.lookups(tables[name]))
        except GraphError as problem:
            problems.append(problem)
    if problems and (names or not found):
        raise problems[0]
    for each in problems:
        logger.warning("a table stays in the graph: %s", each)
    return found


class _Graph:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._nodes = list(model.graph.node)
        self._inputs = {value.name for value in model.graph.input}
        self._initializers = {each.name: each for each in model.graph.initializer}
        self._inputs -= set(self._initializers)  # which old files list as inputs, too
        self._made_by = {name: node for node in self._nodes for name in node.output}
        self._outputs = {value.name for value in model.graph.output}

    def is_looked_up(self, name: str) -> bool:
        """Whether a Gather reads the initializer, or what a DequantizeLinear makes of it."""
        readers = [self._nodes[place] for place, _ in self._readers(name)]
        dequantized = [
            node.output[0] for node in readers if node.op_type == "DequantizeLinear" and node.input[0] == name
        ]
        gathers = [*readers, *(self._nodes[place] for each in dequantized for place, _ in self._readers(each))]
        return any(node.op_type == "Gather" and node.input[0] in (name, *dequantized) for node in gathers)

    def lookups(self, table: TensorProto) -> Iterator[Lookup]:
        """Every look-up in the table; nothing else may read it."""
        if table.data_type not in (*_FLOATS, *_BYTES):
            got = TensorProto.DataType.Name(table.data_type)
            raise GraphError(f"table {table.name!r} must be of FLOAT, FLOAT16, INT8 or UINT8, got {got}")
        name, before, how = table.name, tuple[int, ...](), None
        if len(readers := self._readers(name)) == 1 and self._nodes[readers[0][0]].op_type == "DequantizeLinear":
            place = readers[0][0]
            name, before, how = self._nodes[place].output[0], (place,), self._dequantized(self._nodes[place])
        for place, is_nested in self._readers(name):
            node = self._nodes[place]
            if is_nested or node.op_type != "Gather" or node.input[0] != name or _attribute(node, "axis", 0) != 0:
                raise GraphError(
                    f"table {table.name!r} must only be looked up by row, but {_called(node)} reads it, too"
                )
            lookup = Lookup(
                table=table.name,
                ids=self._root(node, table.name),
                rows=node.output[0],
                nodes=(*before, place),
                dequantized=how,
            )
            yield lookup if how or table.data_type in _FLOATS else self._then_dequantized(lookup)

    def _then_dequantized(self, lookup: Lookup) -> Lookup:
        readers = self._readers(lookup.rows)
        node = self._nodes[readers[0][0]] if len(readers) == 1 and lookup.rows not in self._outputs else None
        if node is None or node.op_type != "DequantizeLinear" or node.input[0] != lookup.rows:
            raise GraphError(
                f"rows of the 8-bit table {lookup.table!r} must go to one DequantizeLinear and nowhere else"
            )
        how = self._dequantized(node)
        if math.prod(self._initializers[how.scale].dims) != 1:
            raise GraphError(f"{_called(node)} must have one scale for all rows of table {lookup.table!r}")
        nodes = (*lookup.nodes, readers[0][0])
        return replace(lookup, rows=node.output[0], nodes=nodes, dequantized=how)

    def _dequantized(self, node: onnx.NodeProto) -> Dequantized:
        weights = [name for name in node.input[1:] if name]
        if not set(weights) <= set(self._initializers) or _attribute(node, "block_size", 0):
            raise GraphError(f"{_called(node)} must have constant scales: of the table, or of each row or column")
        return Dequantized(
            scale=weights[0],
            zero_point=weights[1] if len(weights) > 1 else None,
            axis=_attribute(node, "axis", 1) % 2,
        )

    def _root(self, gather: onnx.NodeProto, table: str) -> str:
        """The input that the ids are."""
        name = gather.input[1]
        while name not in self._inputs:
            node = self._made_by.get(name)
            if node is None or node.op_type not in _PASSED:
                by = _called(node) if node else "a constant"
                raise GraphError(f"ids of table {table!r} must be an input of the graph, but {by} makes them")
            name = node.input[0]
        return name

    def _readers(self, name: str) -> list[tuple[int, bool]]:
        """Places of the nodes that read the value, and whether one does so in a graph within."""
        return [
            (place, name not in node.input)
            for place, node in enumerate(self._nodes)
            if name in node.input or any(name in each.input for each in nested(node))
        ]


def nested(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The nodes of graphs within the node."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield inner
                yield from nested(inner)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    found = (helper.get_attribute_value(each) for each in node.attribute if each.name == name)
    return int(next(found, default))


def _called(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name!r}" if node.name else node.op_type


def _size_bytes(table: TensorProto) -> int:
    return int(table.dims[0] * table.dims[1] * helper.tensor_dtype_to_np_dtype(table.data_type).itemsize)
