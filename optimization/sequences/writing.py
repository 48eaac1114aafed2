"""A teacher writes its answers to all training texts, by beam search, in parallel through Ray Data."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from optimization.errors import TrainError
from optimization.readers import files
from optimization.readers.examples import Split
from optimization.sequences import models
from optimization.sequences.models import Seq2Seq
from optimization.sequences.pairs import padded
from optimization.tasks.task import UNLABELLED
from optimization.training import answers, identity
from optimization.training.checkpoint_store import CheckpointStore

_AT_ONCE = 32


def once(
    teacher: Seq2Seq, split: Split, store: CheckpointStore | None, *, beams: int, max_length: int, num_workers: int
) -> NDArray[np.int64]:
    """What the teacher writes for every text, as `write` gives it; read from the store, if asked before."""

    def ask() -> NDArray[np.int64]:
        return _in_parallel(teacher, split, beams, max_length, num_workers)

    if store is None:
        return ask()
    how = {"beams": beams, "max_length": max_length, "generation": teacher.body.generation_config.to_json_string()}
    return np.asarray(answers.once(store, identity.of_answers(teacher, split, how), len(split), ask), np.int64)


def write(teacher: Seq2Seq, split: Split, *, beams: int, max_length: int) -> NDArray[np.int64]:
    """Words of shape [samples, max_length], the end among them, then `UNLABELLED`."""
    end, device = models.special(teacher).end, next(teacher.parameters()).device
    found: dict[int, list[int]] = {}
    for rows, batch in split.batches(_AT_ONCE):
        with torch.inference_mode():
            written = teacher.body.generate(
                input_ids=torch.from_numpy(batch["input_ids"]).to(device),
                attention_mask=torch.from_numpy(batch["attention_mask"]).to(device),
                num_beams=beams,
                do_sample=False,
                max_new_tokens=max_length,
            )
        for row, words in zip(rows.tolist(), written[:, 1:].tolist(), strict=True):
            kept = words.index(end) if end in words else max_length - 1
            found[row] = [*words[:kept], end]
    return padded([found[row] for row in range(len(split))], max_length, UNLABELLED)


class _Writer:
    """One of Ray Data's actors; it gets row numbers and has the texts."""

    def __init__(self, shared: list[Any], beams: int, max_length: int) -> None:
        import ray

        self._teacher, self._split = ray.get(shared[0])
        self._teacher.to("cuda" if torch.cuda.is_available() else "cpu")
        self._beams, self._max_length = beams, max_length

    def __call__(self, batch: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
        texts = self._split.take(batch["id"])
        return {"id": batch["id"], "words": write(self._teacher, texts, beams=self._beams, max_length=self._max_length)}


def _in_parallel(teacher: Seq2Seq, split: Split, beams: int, max_length: int, num_workers: int) -> NDArray[np.int64]:
    import ray

    ray_data, shared = files.quiet(), ray.put((teacher, split))
    num_blocks = max(num_workers, len(split) // (8 * _AT_ONCE))
    rows = ray_data.range(len(split), override_num_blocks=num_blocks)
    try:
        found = rows.map_batches(
            _Writer, fn_constructor_args=([shared], beams, max_length), batch_size=None, concurrency=num_workers
        ).take_all()
    except ray.exceptions.RayError as error:
        raise TrainError(f"the teacher stopped writing: {error}") from error
    words = {int(row["id"]): np.asarray(row["words"], np.int64) for row in found}
    return np.stack([words[row] for row in range(len(split))])
