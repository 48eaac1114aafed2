"""Reads files through Ray Data, in parallel; the one file that knows it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimization.errors import DataError
from optimization.sources import TABLE_ENDINGS

if TYPE_CHECKING:
    import pandas as pd


def table(path: Path) -> "pd.DataFrame":
    """The rows of a CSV, TSV, JSONL or Parquet file, or of a folder of them.

    Raises:
        DataError: a file cannot be read, or there are several kinds of them.
    """
    import pyarrow.csv as csv

    files = sorted(each for each in path.iterdir() if each.suffix in TABLE_ENDINGS) if path.is_dir() else [path]
    endings = {each.suffix for each in files}
    if len(endings) != 1 or not endings <= set(TABLE_ENDINGS):
        raise DataError(f"{path} must be files of one kind of {', '.join(TABLE_ENDINGS)}, got {sorted(endings)}")
    ray_data = _quiet()
    names = [str(each) for each in files]
    try:
        match endings.pop():
            case ".csv":
                read = ray_data.read_csv(names)
            case ".tsv":
                read = ray_data.read_csv(names, parse_options=csv.ParseOptions(delimiter="\t", quote_char=False))
            case ".jsonl":
                read = ray_data.read_json(names, lines=True)
            case _:
                read = ray_data.read_parquet(names)
        return read.to_pandas(limit=None)
    except Exception as error:  # Ray Data wraps pyarrow's errors in its own
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error


def pictures(path: Path, size: tuple[int, int]) -> list[dict[str, Any]]:
    """The `image`, resized to height and width, and the `path` of each picture below a folder, in order of the paths.

    Raises:
        DataError: a file is no picture.
    """
    try:
        rows = _quiet().read_images(str(path), size=size, mode="RGB", include_paths=True).take_all()
    except Exception as error:  # Ray Data wraps Pillow's errors in its own
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error
    return sorted(rows, key=lambda row: str(row["path"]))


def _quiet() -> Any:
    """Ray Data without its own progress: the recipe's bars own the terminal."""
    from ray import data as ray_data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray_data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray_data


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
