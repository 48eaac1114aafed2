"""Turns texts into token ids with Hugging Face's `tokenizers`; the tokenizer travels in the artifact."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from optimization.errors import DataError
from optimization.extras import require
from optimization.readers.examples import Split

FILE = "tokenizer.json"
"""Name of the tokenizer inside an artifact."""


def tokenizer(name: str, max_length: int) -> Any:
    """The tokenizer of a file, a folder or the Hugging Face hub; it cuts at `max_length` and pads to the longest.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = Path(name).expanduser()
    path = path / FILE if path.is_dir() else path
    try:
        found = tokenizers.Tokenizer.from_file(str(path)) if path.is_file() else _from_hub(name)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise DataError(
            f"data.tokenizer must be a {FILE}, a folder with one or a hub name, got {name!r}: {error}"
        ) from error
    found.enable_truncation(max_length)
    found.enable_padding(**_padding(found))
    return found


def encode(texts: Sequence[str], labels: NDArray[np.int64], tokenizer: Any) -> Split:
    """Texts as `input_ids` and `attention_mask`, padded to the longest of all."""
    encodings = tokenizer.encode_batch_fast(list(texts))
    ids = np.array([each.ids for each in encodings], np.int64)
    mask = np.array([each.attention_mask for each in encodings], np.int64)
    return Split(
        inputs={"input_ids": ids, "attention_mask": mask},
        labels=labels,
        lengths=mask.sum(axis=1),
        texts=np.asarray(texts, object),
    )


def save(tokenizer: Any, folder: Path) -> Path:
    """Write the tokenizer as a file that needs nothing else."""
    path = folder / FILE
    tokenizer.save(str(path))
    return path


def _padding(found: Any) -> dict[str, Any]:
    """The padding a tokenizer's file asks for, else its token `[PAD]` or `<pad>`; never to a fixed length."""
    usual = found.padding or {}
    token = next(
        (token for token in (usual.get("pad_token"), "[PAD]", "<pad>") if found.token_to_id(token or "")), None
    )
    if token is None:
        return {"pad_id": usual.get("pad_id", 0)}
    return {"pad_token": token, "pad_id": found.token_to_id(token)}


def _from_hub(name: str) -> Any:
    return require("transformers", extra="hf").AutoTokenizer.from_pretrained(name).backend_tokenizer
