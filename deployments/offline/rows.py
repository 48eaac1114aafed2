"""Rows of an input, some at a time, and the chunk of the plan that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

Schema = dict[str, str]
"""The input's columns and Arrow's name of their types."""

WINDOW_ROWS = 1024
"""Rows that are read, sorted and predicted together."""
WINDOW_BYTES = 32 * 2**20
"""About the most bytes of them."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A range of rows that one output file holds."""

    number: int
    file: int
    """Which of the plan's files; of pictures, the first of `num_rows` files."""
    first_row: int
    """In its file, from 0; of pictures, 0."""
    num_rows: int
    begin: int = 0
    end: int = 0
    """Bytes of the file where the rows lie; of Parquet, row groups."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows, as they were read."""

    where: list[str]
    """For people: the file and row of each."""
    columns: Mapping[str, pa.Array]
    """What of the input is kept in the output."""
    values: Mapping[str, Any]
    """By column, the values to make tensors of: an Arrow array, or a list of Python's own values."""
    errors: list[str | None]
    """Why a row cannot be used; none where nothing is wrong with it."""
