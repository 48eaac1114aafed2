"""Reads a CSV, TSV, JSONL or Parquet file without a cluster, as the run that follows will read it through Ray Data."""

from pathlib import Path
from typing import TYPE_CHECKING

from optimization.errors import DataError
from optimization.readers import files

if TYPE_CHECKING:
    import pandas as pd


def read(path: Path) -> "pd.DataFrame":
    """The rows of the file, or of a folder of such files.

    Raises:
        DataError: there is no such file, it cannot be read, or has no rows.
    """
    import pandas as pd

    if not path.exists():
        raise DataError(f"--data must be a CSV, TSV, JSONL or Parquet file, or a folder of them, got no {path}")
    with files.told(path):
        frame = pd.concat([_one(each) for each in files.tables(path)], ignore_index=True)
    if frame.empty:
        raise DataError(f"{path} must hold examples, got no rows")
    return frame


def _one(path: Path) -> "pd.DataFrame":
    import pyarrow.csv as csv
    import pyarrow.json as jsonl
    import pyarrow.parquet as parquet

    match path.suffix:
        case ".csv":
            rows = csv.read_csv(path)
        case ".tsv":
            rows = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter="\t", quote_char=False))
        case ".jsonl":
            rows = jsonl.read_json(path)
        case _:
            rows = parquet.read_table(path)
    return rows.to_pandas()
