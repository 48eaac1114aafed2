"""Writes word by word with the ONNX file of one step, as it is served, and measures what is written."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization.extras import require
from optimization.graphs import graph
from optimization.measuring.latency import BATCH_SIZES, Latency
from optimization.readers.examples import Inputs
from optimization.sequences.pairs import Corpus

_AT_ONCE = 64
_NUM_BATCHES = 10
_NUM_TURNS = 3


def write(session: Any, batch: Inputs, end: int, max_length: int) -> list[list[int]]:
    """The words of each text, without the end."""
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    written: NDArray[np.int64] = np.zeros((len(read["input_ids"]), 0), np.int64)
    is_done = np.zeros(len(written), bool)
    while written.shape[1] < max_length and not is_done.all():
        token, written = session.run(["token", "sequence"], {**read, "written": written})
        is_done |= token[:, 0] == end
    return [words[: words.index(end)] if end in words else words for words in written.tolist()]


def texts(path: Path, corpus: Corpus) -> list[str]:
    """What the model writes for the held-out texts."""
    session, found = graph.session(path), dict[int, list[int]]()
    for rows, batch in corpus.held_out.batches(_AT_ONCE):
        words = write(session, batch, corpus.special.end, corpus.max_length)
        found |= dict(zip(rows.tolist(), words, strict=True))
    decoded: list[str] = corpus.tokenizer.decode_batch([found[row] for row in range(len(found))])
    return decoded


def scores(written: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """BLEU (Papineni 2002) and chrF (Popović 2015) of all texts together, in 0 to 100, as sacrebleu has them."""
    sacrebleu = require("sacrebleu", extra="seq2seq")
    return {
        "BLEU": sacrebleu.corpus_bleu(list(written), [list(references)]).score,
        "chrF": sacrebleu.corpus_chrf(list(written), [list(references)]).score,
    }


def latencies(models: Mapping[str, Path], corpus: Corpus) -> dict[str, dict[int, Latency]]:
    """Time until a batch of held-out texts is wholly answered, by model and batch size; the models take turns."""
    sessions = {name: graph.session(path) for name, path in models.items()}
    measured: dict[str, dict[int, Latency]] = {name: {} for name in models}
    for size in BATCH_SIZES:
        random = np.random.default_rng(0)
        batches = [corpus.held_out.batch(random.integers(0, len(corpus.held_out), size)) for _ in range(_NUM_BATCHES)]
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
