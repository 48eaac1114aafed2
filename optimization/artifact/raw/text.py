"""Text to tokens, by Hugging Face's `tokenizers`, as the artifact's tokenizer file says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from optimization.artifact.manifest import TextPreprocessing
from optimization.artifact.raw.prepare import Array, Prepare, RawInputError
from optimization.artifact.store import ArtifactError


def tokens(text: TextPreprocessing, path: Path, inputs: Sequence[str]) -> Prepare:
    """Makes int64 tensors of shape [batch, longest] of UTF-8 texts: those of `inputs` that a tokenizer gives.

    Raises:
        ArtifactError: the file is no tokenizer, or the model wants a tensor that no tokenizer gives.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise ArtifactError(f"{path} is no tokenizer: {error}") from error
    tokenizer.enable_truncation(text.max_length)
    tokenizer.enable_padding(**_padding(tokenizer))
    attributes = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    unknown = [name for name in inputs if name not in attributes]
    if unknown:
        raise ArtifactError(f"a model that takes text must have the inputs {', '.join(attributes)}, got {unknown}")

    def prepare(raw: Array) -> dict[str, Array]:
        encoded = tokenizer.encode_batch_fast([_decoded(element, text.input) for element in raw])
        return {name: np.array([getattr(each, attributes[name]) for each in encoded], np.int64) for name in inputs}

    return prepare


def _padding(tokenizer: Tokenizer) -> dict[str, object]:
    """How the tokenizer file pads, but always to the longest of a batch and at the end."""
    own = tokenizer.padding or {}
    return {key: own[key] for key in ("pad_id", "pad_token", "pad_type_id") if key in own}


def _decoded(element: bytes, name: str) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise RawInputError(f"input {name!r} must be UTF-8 text: {error}") from error
