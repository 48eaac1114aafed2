"""Writes word by word with the ONNX file of one step, as it is served, and measures what is written."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization.artifact import steps
from optimization.artifact.manifest import Stream
from optimization.extras import require
from optimization.graphs import graph
from optimization.measuring.latency import BATCH_SIZES, Latency
from optimization.readers.examples import Inputs, Split
from optimization.sequences.pairs import Corpus

AT_ONCE = 64
_NUM_BATCHES = 10
_NUM_TURNS = 3


def stream(end: int, max_length: int) -> Stream:
    """How the exported step is driven: what has been written is read again, until the end comes."""
    return Stream(carry={"sequence": "written"}, emit=("token",), until={"token": end}, max_steps=max_length)


def write(session: Any, batch: Inputs, end: int, max_length: int) -> NDArray[np.int64]:
    """The words of each text, of shape [texts, max_length]; after the end there is nothing but the end."""
    nothing = np.zeros((len(batch["input_ids"]), 0), np.int64)
    found: NDArray[np.int64] = steps.drive(session, stream(end, max_length), {**batch, "written": nothing})
    return found[:, :, 0]


def words(path: Path, corpus: Corpus) -> NDArray[np.int64]:
    """What the model writes for the held-out texts, in their order."""
    session = graph.session(path)
    found = np.empty((len(corpus.held_out), corpus.max_length), np.int64)
    for rows, batch in corpus.held_out.batches(AT_ONCE):
        found[rows] = write(session, batch, corpus.special.end, corpus.max_length)
    return found


def texts(written: NDArray[np.int64], corpus: Corpus) -> list[str]:
    """What was written, without the end."""
    rows = [row[: row.index(corpus.special.end)] if corpus.special.end in row else row for row in written.tolist()]
    decoded: list[str] = corpus.tokenizer.decode_batch(rows)
    return decoded


def scores(written: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """BLEU (Papineni 2002) and chrF (Popović 2015) of all texts together, in 0 to 100, as sacrebleu has them."""
    sacrebleu = require("sacrebleu", extra="seq2seq")
    return {
        "BLEU": sacrebleu.corpus_bleu(list(written), [list(references)]).score,
        "chrF": sacrebleu.corpus_chrf(list(written), [list(references)]).score,
    }


def latencies(models: Mapping[str, Path], split: Split, corpus: Corpus) -> dict[str, dict[int, Latency]]:
    """Time until a batch of the texts is wholly answered, by model and batch size; the models take turns."""
    sessions = {name: graph.session(path) for name, path in models.items()}
    measured: dict[str, dict[int, Latency]] = {name: {} for name in models}
    for size in BATCH_SIZES:
        random = np.random.default_rng(0)
        batches = [split.batch(random.integers(0, len(split), size)) for _ in range(_NUM_BATCHES)]
        turns = {name: np.zeros((_NUM_BATCHES, _NUM_TURNS)) for name in models}
        for number, batch in enumerate(batches):
            for turn in range(_NUM_TURNS):
                for name, session in sessions.items():
                    began = time.perf_counter()
                    write(session, batch, corpus.special.end, corpus.max_length)
                    turns[name][number, turn] = time.perf_counter() - began
        for name in models:
            measured[name][size] = Latency(turns_s=turns[name])
    return measured
