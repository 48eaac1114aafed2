"""Takes what was trained out of the tables: the network as ONNX, whose inputs are rows, and each column's table."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import numpy as np

from optimization.graphs import export
from optimization.readers.examples import Split
from optimization.recommenders import network as networks
from optimization.recommenders.examples import Examples
from optimization.recommenders.network import Recommender
from optimization.recommenders.table import Ids, Layout, Table
from optimization.tasks.classification import Classification

TASK = Classification()
_PIECE_BYTES = 16 * 2**20


def input_name(column: str) -> str:
    """The ONNX model's input for the rows of a column."""
    return f"{column}_rows"


async def split(table: Table, layout: Layout, examples: Examples) -> Split:
    """Examples as the ONNX model takes them: rows in place of ids."""
    inputs = {}
    for number, (name, begin) in enumerate(zip(layout.columns, layout.begins, strict=True)):
        each, inverse = np.unique(examples.ids[:, number], return_inverse=True)
        rows = [await table.rows(some) for some in _pieces(each + begin, layout.width)]
        inputs[input_name(name)] = np.concatenate(rows)[inverse]
    return Split(inputs=inputs, labels=examples.labels)


async def load(table: Table, layout: Layout, network: Recommender) -> None:
    """Put the trained weights into the network."""
    rows = await table.rows(layout.weights)
    networks.load(network, rows.ravel()[: layout.num_weights])
    network.eval()


def save(network: Recommender, path: Path, examples: Split, seed: int) -> float:
    """Write the network as an ONNX file that gives a probability; how far both are apart at most.

    Raises:
        ExportError: they are further apart than they may be.
    """
    export.export(network, path, examples, task=TASK)
    return export.parity(network, path, examples, task=TASK, seed=seed)


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A column's trained table, as `initial` of `deployments.app:embeddings` takes it."""

    column: str
    url: str
    rows: int
    width: int


async def save_tables(table: Table, layout: Layout, where: str, name: str) -> list[TableFile]:
    """Write each column's table as a .npy file, a piece at a time: it need not fit into memory."""
    folder = f"{where.rstrip('/')}/{name}/{datetime.now(UTC):%Y%m%dT%H%M%S}"
    written = []
    for (column, rows), begin in zip(layout.columns.items(), layout.begins.tolist(), strict=True):
        url = f"{folder}/{column}.npy"
        with fsspec.open(url, "wb", auto_mkdir=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, layout.width)}
            np.lib.format.write_array_header_1_0(file, header)
            for some in _pieces(np.arange(begin, begin + rows), layout.width):
                file.write((await table.rows(some)).astype("<f4").tobytes())
        written.append(TableFile(column=column, url=url, rows=rows, width=layout.width))
    return written


def _pieces(ids: Ids, width: int) -> list[Ids]:
    step = max(1, _PIECE_BYTES // (4 * width))
    return [ids[begin : begin + step] for begin in range(0, len(ids), step)]
