"""Turns text pairs into token ids: what is read, what has been written so far, and the words to write next."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optimization.chance import generator
from optimization.errors import DataError
from optimization.readers import files, text
from optimization.readers.examples import Split
from optimization.sequences.recipe import Pairs
from optimization.tasks.task import UNLABELLED

if TYPE_CHECKING:
    import pandas as pd

Sides = tuple[list[str], ...]
"""Texts that are read, and for each what is to be written."""


@dataclass(frozen=True, kw_only=True)
class Special:
    """Tokens with a meaning of their own."""

    start: int
    """What the decoder reads before the first word."""
    end: int
    pad: int


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Text pairs as token ids.

    The inputs of its splits are `input_ids`, `attention_mask` and `written`: the target without its end. Labels have
    the shape [samples, words]: the words to write next, then `UNLABELLED`.
    """

    train: Split
    """What models learn from."""
    validation: Split
    """What decides: nodes that stay in fp32, INT8 or fp32."""
    held_out: Split
    """What every quality is reported on; nothing reads it before all has been decided."""
    references: tuple[str, ...]
    """The held-out targets as texts."""
    tokenizer: Any
    special: Special
    max_length: int


def load(config: Pairs, special: Special, vocabulary: int, seed: int) -> Corpus:
    """Read the pairs; some of them decide, and some report.

    Raises:
        DataError: a file or column is missing, or the tokenizer has words that the model lacks.
    """
    tokenizer = text.tokenizer(config.tokenizer, config.max_length)
    tokenizer.no_padding()
    if tokenizer.get_vocab_size() > vocabulary:
        rule = f"data.tokenizer must have at most the model's {vocabulary} tokens"
        raise DataError(f"{rule}, got {tokenizer.get_vocab_size()}")
    read_pairs = _read(config.train, config)
    left, held_out = _apart(read_pairs, config.held_out, config, np.random.default_rng(seed))
    train, validation = _apart(left, config.validation, config, generator(seed, "validation"))
    if not train[0]:
        num_kept = 1 + sum(not isinstance(each, str) for each in (config.held_out, config.validation))
        raise DataError(f"data.train must have at least {num_kept} pairs, got {len(read_pairs[0])}")

    def split(sides: Sides) -> Split:
        read = [each.ids for each in tokenizer.encode_batch(sides[0])]
        words = [each.ids for each in tokenizer.encode_batch(sides[1], add_special_tokens=False)]
        return encode(read, [[*each[: config.max_length - 1], special.end] for each in words], special)

    return Corpus(
        train=split(train),
        validation=split(validation),
        held_out=split(held_out),
        references=tuple(held_out[1]),
        tokenizer=tokenizer,
        special=special,
        max_length=config.max_length,
    )


def _apart(sides: Sides, wanted: float | str, config: Pairs, random: np.random.Generator) -> tuple[Sides, Sides]:
    """What is left, and that fraction of the pairs, or those of another file."""
    if isinstance(wanted, str):
        return sides, _read(wanted, config)
    order = random.permutation(len(sides[0]))
    num = max(1, round(len(order) * wanted))
    left, kept = (tuple([side[row] for row in rows] for side in sides) for rows in (order[num:], order[:num]))
    return left, kept


def encode(read: Sequence[Sequence[int]], words: Sequence[Sequence[int]], special: Special) -> Split:
    """Tokens that are read and tokens to write, the end among them, padded to the longest of all."""
    lengths = np.array([max(len(one), len(other)) for one, other in zip(read, words, strict=True)], np.int64)
    width = int(lengths.max())
    inputs = {
        "input_ids": padded(read, width, special.pad),
        "attention_mask": padded([[1] * len(each) for each in read], width, 0),
        "written": padded([each[:-1] for each in words], width, special.pad),
    }
    return Split(inputs=inputs, labels=padded(words, width + 1, UNLABELLED), lengths=lengths)


def rewritten(split: Split, answers: NDArray[np.int64], special: Special) -> Split:
    """The same texts with what a teacher wrote for them, `UNLABELLED` after its end, as what is to be written."""
    lengths = split.inputs["attention_mask"].sum(axis=1)
    read = [row[:length].tolist() for row, length in zip(split.inputs["input_ids"], lengths, strict=True)]
    return encode(read, [row[row != UNLABELLED].tolist() for row in answers], special)


def padded(rows: Sequence[Sequence[int]], width: int, value: int) -> NDArray[np.int64]:
    """The rows in one array, `value` after their ends."""
    table = np.full((len(rows), width), value, np.int64)
    for row, tokens in zip(table, rows, strict=True):
        row[: len(tokens)] = tokens
    return table


def _read(path: str, config: Pairs) -> Sides:
    frame = files.table(Path(path))
    return _texts(frame, config.text), _texts(frame, config.target)


def _texts(frame: "pd.DataFrame", name: str) -> list[str]:
    if name not in frame:
        raise DataError(f"data has no column {name!r}; known are {', '.join(map(str, frame.columns))}")
    if frame[name].isna().any():
        raise DataError(f"column {name!r} must have a text in every row, got none in row {frame[name].isna().argmax()}")
    return [str(each) for each in frame[name]]
