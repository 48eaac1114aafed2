"""Reads files through Ray Data, in parallel."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimization.errors import DataError
from optimization.recipe.sources import TABLE_ENDINGS

if TYPE_CHECKING:
    import pandas as pd

PATH = "path"
"""Column that Ray Data adds: the file a row is from."""


def table(path: Path) -> "pd.DataFrame":
    """The rows of a CSV, TSV, JSONL or Parquet file, or of a folder of them, indexed by file and row.

    Raises:
        DataError: a file cannot be read, or there are several kinds of them.
    """
    with told(path):
        return indexed(rows(path).to_pandas(limit=None))


def tables(path: Path) -> list[Path]:
    """The file, or those of a folder.

    Raises:
        DataError: there are none, or several kinds of them.
    """
    found = sorted(each for each in path.iterdir() if each.suffix in TABLE_ENDINGS) if path.is_dir() else [path]
    endings = {each.suffix for each in found}
    if len(endings) != 1 or not endings <= set(TABLE_ENDINGS):
        raise DataError(f"{path} must be files of one kind of {', '.join(TABLE_ENDINGS)}, got {sorted(endings)}")
    return found


def rows(path: Path) -> Any:
    """A Ray Data set of a table's rows and the `path` each is from, in the order of the files."""
    import pyarrow.csv as csv

    found, ray_data = tables(path), quiet()
    names = [str(each) for each in found]
    match found[0].suffix:
        case ".csv":
            return ray_data.read_csv(names, include_paths=True)
        case ".tsv":
            tabs = csv.ParseOptions(delimiter="\t", quote_char=False)
            return ray_data.read_csv(names, include_paths=True, parse_options=tabs)
        case ".jsonl":
            return ray_data.read_json(names, lines=True, include_paths=True)
        case _:
            return ray_data.read_parquet(names, include_paths=True)


def indexed(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The frame without its column `path`, which becomes the index, together with the row in that file."""
    import pandas as pd

    paths = frame.pop(PATH)
    frame.index = pd.MultiIndex.from_arrays([paths, frame.groupby(paths).cumcount()])
    return frame


def pictures(paths: Sequence[Path], size: tuple[int, int]) -> Any:
    """A Ray Data set of each picture as `image`, resized to height and width, with its `path`."""
    names = [str(each) for each in paths]
    return quiet().read_images(names, size=size, mode="RGB", include_paths=True, file_extensions=None)


@contextmanager
def told(what: object) -> Iterator[None]:
    """Turn Ray Data's errors, which wrap those of others, into one that names what was to be read.

    Raises:
        DataError: reading failed.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # of Ray Data, pyarrow or Pillow
        ours = re.findall(rf"{DataError.__name__}: (.*)", str(error))
        reason = str(error).strip().splitlines()[-1]
        raise DataError(ours[-1] if ours else f"{what} cannot be read: {reason}") from error


def quiet() -> Any:
    """Ray Data without its own progress, since the recipe's bars own the terminal; rows come in order."""
    from ray import data as ray_data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray_data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    return ray_data
