"""Training examples that stay on disk: prepared once as Parquet through Ray Data, then read anew in each epoch.

files ─▶ facts: classes, means ─▶ encode ─┬▶ train/*.parquet ─▶ workers (training/flow.py), teacher (`answered`)
                                          └▶ kept.npz: what decides, what reports and a sample, in memory

An example's number, drawn from what it holds and the seed, says where it goes: equal ones go the same way, whatever
the order in which they are read.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from torch import nn

from optimization.distillation.targets import teacher_logits
from optimization.errors import DataError, IdentityError
from optimization.identity import code, content
from optimization.readers import files
from optimization.readers.examples import Split, Stream
from optimization.recipe.sources import Pictures, Table
from optimization.training import checkpoint, identity

if TYPE_CHECKING:
    import pandas as pd

_NUM_HELD_OUT, _NUM_SAMPLED = 10_000, 2_048
"""Examples that are kept in memory, at most about so many."""
_ROWS_PER_FILE = 2_048
_NUMBERS = 2**63
_INPUT, _PIXELS = "input.", "pixels."
"""Begin the names of the columns that a model takes; as they are, or as brightnesses."""
_AT_ONCE = 256

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which examples to take: those whose number lies in [low, high) of all numbers."""

    low: float
    high: float

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where the numbers lie in it."""
        return (numbers >= self.low * _NUMBERS) & (numbers < self.high * _NUMBERS)


@dataclass(frozen=True, kw_only=True)
class _Shares:
    held_out: Share
    validation: Share
    in_memory: Share
    """Both of these and a sample of the others."""
    train: Share


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What streamed training examples are, and those that are in memory."""

    stream: Stream
    splits: dict[str, Split]
    """A sample of the examples to "train" on, those for "validation", and the "held_out" ones.

    The latter two are empty where the recipe names such examples of its own.
    """
    facts: dict[str, Any]


def prepare(
    config: Table | Pictures,
    seed: int,
    kept: Path,
    sources: Sequence[Path],
    find: Callable[[], dict[str, Any]],
    read: Callable[[dict[str, Any], Share], Any],
) -> Prepared:
    """Write the training examples below `kept`, unless they are there.

    Args:
        config: The settings of the data.
        seed: Decides which examples are held out.
        kept: A folder that every node of the cluster sees.
        sources: The files the examples come from: when they change, all is made anew.
        find: Gives what has to be known of all examples first, such as their number `num`, as JSON has it.
        read: Gives a Ray Data set of those examples, encoded as `columns` does, of a share of them.

    Raises:
        DataError: a file cannot be read, or there is nothing to train on.
    """
    folder = kept / _digest(config, seed, sources)
    if not (folder / "facts.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # what a run that was stopped left behind
        facts = find()
        shares = _shares(config, facts["num"])
        with files.told(sources[0].parent):
            memory = _gathered(read(facts, shares.in_memory))
            rows = read(facts, shares.train)
            rows.write_parquet(
                str(folder / "train"), min_rows_per_file=_ROWS_PER_FILE, max_rows_per_file=_ROWS_PER_FILE
            )
        np.savez(folder / "kept.npz", allow_pickle=False, **memory)
        num = _count(folder / "train")
        ends = {"held_out": shares.held_out.high, "validation": shares.validation.high}
        checkpoint.write(folder / "facts.json", json.dumps(facts | ends | {"num": num}).encode())
    facts = json.loads((folder / "facts.json").read_text())
    with np.load(folder / "kept.npz", allow_pickle=False) as arrays:
        memory = dict(arrays)
    parts = {
        "held_out": Share(low=0, high=facts["held_out"]),
        "validation": Share(low=facts["held_out"], high=facts["validation"]),
        "train": Share(low=facts["validation"], high=1),
    }
    all_kept = split(memory)
    splits = {name: all_kept.take(np.flatnonzero(part.of(memory["number"]))) for name, part in parts.items()}
    sample = splits["train"]
    if not len(sample) or not facts["num"]:
        raise DataError(f"{sources[0]} must hold more examples than are held out, got {len(all_kept)}")
    size = sum(values.nbytes for values in sample.inputs.values()) // len(sample)
    stream = Stream(folder=folder / "train", num=facts["num"], example_bytes=size)
    return Prepared(stream=stream, splits=splits, facts=facts)


def answered(stream: Stream, sample: Split, teacher: nn.Module, num_actors: int) -> Stream:
    """The same examples with the teacher's logits, computed by so many actors side by side, unless they are there.

    Raises:
        DataError: the teacher cannot answer an example.
    """
    try:
        digest = content.of_values(identity.of_answers(teacher, sample, {}))
    except IdentityError:
        digest = uuid4().hex  # not to be found again
    folder = stream.folder.parent / f"answered-{digest[:16]}"
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        with files.told(stream.folder):
            rows = files.quiet().read_parquet(str(stream.folder))
            asked = rows.map_batches(
                _Asked,
                fn_constructor_args=(teacher,),
                batch_size=_AT_ONCE,
                num_cpus=0,  # the train workers, whose CPUs these are, wait meanwhile
                concurrency=num_actors,
            )
            asked.write_parquet(str(unfinished), ray_remote_args={"num_cpus": 0})
        unfinished.rename(folder)
    return replace(stream, folder=folder)


def opened(stream: Stream, seed: int) -> Any:
    """A Ray Data set of the examples, whose files come in another order each time it is read."""
    ray_data = files.quiet()
    return ray_data.read_parquet(str(stream.folder), shuffle=ray_data.FileShuffleConfig(seed=seed))


def columns(split: Split, numbers: NDArray[np.int64], longest: int) -> Columns:
    """A split as columns; token ids are padded to the `longest`."""
    padded = {name: _padded(values, longest, split.lengths) for name, values in split.inputs.items()}
    found: Columns = {(_PIXELS if name in split.pixels else _INPUT) + name: values for name, values in padded.items()}
    found |= {"label": split.labels, "number": numbers}
    return found if split.lengths is None else found | {"length": split.lengths}


def split(columns: Columns) -> Split:
    """The split that the columns hold."""
    given = [name for name in columns if name.startswith((_INPUT, _PIXELS))]
    return Split(
        inputs={name.partition(".")[2]: np.asarray(columns[name]) for name in given},
        pixels=frozenset(name.removeprefix(_PIXELS) for name in given if name.startswith(_PIXELS)),
        labels=columns["label"].astype(np.int64),
        lengths=columns.get("length"),
        numbers=columns["number"],
        answers=columns.get("logits"),
    )


def numbers_of_rows(frame: "pd.DataFrame", seed: int) -> NDArray[np.int64]:
    """Numbers of a table's rows, in [0, 2^63)."""
    import pandas as pd

    hashed: NDArray[np.uint64] = pd.util.hash_pandas_object(frame, index=False, hash_key=f"{seed:016}").to_numpy()
    return (hashed >> np.uint64(1)).astype(np.int64)


def number_of_name(name: str, seed: int) -> int:
    """The number of a file of that name."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()) >> 1


class _Asked:
    """An actor that adds the teacher's logits to batches."""

    def __init__(self, teacher: nn.Module) -> None:
        self._teacher = teacher

    def __call__(self, batch: Columns) -> Columns:
        return batch | {"logits": teacher_logits(self._teacher, split(batch))}


def _shares(config: Table | Pictures, num: int) -> _Shares:
    held = min(config.held_out, _NUM_HELD_OUT / num) if isinstance(config.held_out, float) else 0.0
    deciding = min(config.validation * (1 - held), _NUM_HELD_OUT / num) if isinstance(config.validation, float) else 0.0
    begin = held + deciding
    end = begin + config.share * (1 - begin)
    return _Shares(
        held_out=Share(low=0, high=held),
        validation=Share(low=held, high=begin),
        in_memory=Share(low=0, high=min(end, begin + _NUM_SAMPLED / num)),
        train=Share(low=begin, high=end),
    )


def _gathered(rows: Any) -> Columns:
    batches = list(rows.iter_batches(batch_size=None, batch_format="numpy"))
    if not batches:
        raise DataError("there must be examples, got none")
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _count(folder: Path) -> int:
    import pyarrow.parquet as parquet

    return sum(parquet.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def _padded(values: NDArray[Any], longest: int, lengths: NDArray[np.int64] | None) -> NDArray[Any]:
    if lengths is None or values.ndim == 1:
        return values
    return np.pad(values, ((0, 0), (0, longest - values.shape[1])))


def _digest(config: Table | Pictures, seed: int, sources: Sequence[Path]) -> str:
    hashed = hashlib.sha256(f"{config.model_dump_json()} {seed}".encode())
    hashed.update(content.of_files(sources, Path(config.train)).encode())
    hashed.update(code.own().encode())
    return hashed.hexdigest()[:16]
