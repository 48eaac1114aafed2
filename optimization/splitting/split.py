"""An artifact becomes one without its large tables, and a file of rows for each of them.

ids -> [table] -> rows -> the rest        becomes        rows -> the rest,   table.npy
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import external_data_helper, helper

from optimization.artifact import store
from optimization.artifact.manifest import SplitInput, TensorSpec
from optimization.artifact.store import Artifact
from optimization.cutting import example
from optimization.cutting.runtime import taken
from optimization.errors import GraphError
from optimization.graphs import graph
from optimization.readers.examples import Inputs
from optimization.splitting import lookups, table_file
from optimization.splitting.lookups import Lookup

MAX_BYTES = 2**31 - 1
"""Of a graph in one file."""
TRIED = 3
"""Samples that both models must answer alike."""
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A table that was split off."""

    name: str
    path: Path
    sha256: str
    rows: int
    width: int
    dtype: str
    inputs: tuple[str, ...]
    """Inputs of the model that are rows of it."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """What became of an artifact."""

    artifact: Artifact
    tables: tuple[TableFile, ...]
    difference: float
    """Largest difference between an output of the whole model and of the split one; 0 where all bits are the same."""


def split(whole: Artifact, root: Path, name: str, folder: Path, names: tuple[str, ...] = ()) -> Split:
    """Publish `whole` without its large tables, or those that `names` name, below `root`, and write them to `folder`.

    Raises:
        GraphError: there is no such table, or one cannot be split off.
        ArtifactError: the name breaks its rule.
    """
    manifest = whole.manifest
    if len(manifest.graphs) > 1 or manifest.stream is not None:
        what = "parts" if len(manifest.graphs) > 1 else "a stream"
        raise GraphError(f"{manifest.name} must be one graph that answers at once, got {what}: split it first")
    part = manifest.graphs[0]
    file = whole.path / part.file
    model = onnx.load(file, load_external_data=False)
    found = lookups.find(model, names)
    inputs = _inputs(found, {spec.name for spec in manifest.inputs})
    files = {}
    for lookup in found:
        if lookup.table not in files:
            target = folder / f"{_plain(f'{name}-{lookup.table}')}.npy"
            table_file.write(model, file.parent, lookup.table, lookup.dequantized, target)
            files[lookup.table] = _table_file(
                target, [each for each, one in inputs.items() if one.table == lookup.table]
            )
    specs = {spec.name: spec for spec in manifest.inputs}
    given = example.inputs(model, manifest.inputs, example.free_sizes(manifest.inputs, TRIED, TRIED))
    _leave_out(model, found, inputs, files, specs)
    external_data_helper.load_external_data_for_model(model, str(file.parent))
    if model.ByteSize() > MAX_BYTES:
        raise GraphError(f"what is left of {manifest.name} must be under 2 GB, got {model.ByteSize()} bytes")
    with TemporaryDirectory(prefix="trimtab-") as scratch:
        path = Path(scratch) / store.MODEL
        onnx.save(model, path)
        difference = _difference(file, path, given, inputs, files)
        published = store.publish(
            root,
            {store.MODEL: path},
            name=name,
            parent=f"{manifest.name}/{manifest.version}",
            inputs=graph.inputs(model),
            outputs=manifest.outputs,
            task=manifest.task,
            labels=manifest.labels,
            embeddings=tuple(
                SplitInput(rows=rows, ids=specs[each.ids], num_rows=files[each.table].rows)
                for rows, each in inputs.items()
            ),
            libraries={library: version(library) for library in ("onnx", "onnxruntime")},
        )
    return Split(artifact=published, tables=tuple(files.values()), difference=difference)


def _inputs(found: Sequence[Lookup], taken: set[str]) -> dict[str, Lookup]:
    """The inputs that are rows, by name: one for each table and ids, however often the graph looks them up."""
    inputs: dict[str, Lookup] = {}
    for lookup in found:
        if any(_alike(lookup, each) for each in inputs.values()):
            continue
        name = f"{lookup.ids}_rows"
        if name in inputs or name in taken:
            name = f"{lookup.ids}_{_plain(lookup.table)}_rows"
        inputs[name] = lookup
    return inputs


def _leave_out(
    model: onnx.ModelProto,
    found: Sequence[Lookup],
    inputs: Mapping[str, Lookup],
    files: Mapping[str, TableFile],
    specs: Mapping[str, TensorSpec],
) -> None:
    """Take tables and look-ups out of the graph, in place; rows become inputs, ids stay where others read them."""
    inner = model.graph
    for place in sorted({place for lookup in found for place in lookup.nodes}, reverse=True):
        del inner.node[place]
    for lookup in found:
        name = next(name for name, each in inputs.items() if _alike(lookup, each))
        inner.node.insert(0, helper.make_node("Identity", [name], [lookup.rows]))
    while unread := [node for node in inner.node if not _is_read(inner, node)]:
        for node in unread:
            inner.node.remove(node)
    for initializer in [each for each in inner.initializer if each.name in files or not _reads(inner, each.name)]:
        inner.initializer.remove(initializer)
    for value in [
        each for each in inner.input if each.name in {one.ids for one in found} and not _reads(inner, each.name)
    ]:
        inner.input.remove(value)
    for name, lookup in inputs.items():
        table, shape = files[lookup.table], specs[lookup.ids].shape
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(table.dtype))
        inner.input.append(helper.make_tensor_value_info(name, kind, [*shape, table.width]))


def _difference(
    whole: Path, left: Path, given: Inputs, inputs: Mapping[str, Lookup], files: Mapping[str, TableFile]
) -> float:
    """How far the outputs of both models lie apart.

    Raises:
        GraphError: they are not alike.
    """
    tables = {name: np.load(files[each.table].path, mmap_mode="r") for name, each in inputs.items()}
    fed = given | {name: tables[name][given[each.ids]] for name, each in inputs.items()}
    wanted, got = graph.session(whole), graph.session(left)
    try:
        pairs = list(zip(wanted.run(None, given), got.run(None, taken(got, fed)), strict=True))
    except Exception as error:  # ONNX Runtime's errors share no base but this
        raise GraphError(f"the model cannot be tried with random input: {error}") from error
    if all(one.tobytes() == other.tobytes() for one, other in pairs):
        return 0.0
    difference = max(float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max()) for one, other in pairs)
    if not difference <= TOLERANCE:
        raise GraphError(f"the split model must answer as the whole one does, got a difference of {difference:.2g}")
    return difference


def _table_file(path: Path, inputs: Sequence[str]) -> TableFile:
    rows = np.load(path, mmap_mode="r")
    return TableFile(
        name=path.stem,
        path=path,
        sha256=store.sha256(path),
        rows=rows.shape[0],
        width=rows.shape[1],
        dtype=rows.dtype.name,
        inputs=tuple(inputs),
    )


def _alike(one: Lookup, other: Lookup) -> bool:
    return (one.table, one.ids) == (other.table, other.ids)


def _is_read(inner: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    return any(_reads(inner, name) for name in node.output)


def _reads(inner: onnx.GraphProto, name: str) -> bool:
    """Whether a node, or one of a graph within, or the caller takes the value."""
    return any(value.name == name for value in inner.output) or any(
        name in each.input for node in inner.node for each in (node, *lookups.nested(node))
    )


def _plain(name: str) -> str:
    """`name` as artifacts and tables may be called."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")[:120]
