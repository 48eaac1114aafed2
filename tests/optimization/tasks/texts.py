"""Texts of made-up words, and small models of their tokens."""

from pathlib import Path

import numpy as np
import tokenizers
import torch
from torch import Tensor, nn

from optimization.artifact.manifest import TextPreprocessing
from optimization.readers import text, tokens
from optimization.readers.examples import Dataset
from optimization.tasks.named import TASKS

NUM_WORDS = 30
TAGS = ("B-NAME", "I-NAME", "O")


def tokenizer() -> tokenizers.Tokenizer:
    """A word is a token, and a hyphen parts it in several; a sign begins each text."""
    names = ["[PAD]", "[CLS]", "[UNK]", "-", *(f"w{number}" for number in range(NUM_WORDS))]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({name: number for number, name in enumerate(names)}, "[UNK]")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    made.enable_padding(pad_id=0, pad_token="[PAD]")
    return made


def named_words(folder: Path, num: int = 700) -> Dataset:
    """Texts of two to six words, each of which begins a name, goes on with one, or is in none."""
    task, random = TASKS["token_classification"].named(TAGS), np.random.default_rng(0)
    words = [random.integers(0, NUM_WORDS, random.integers(2, 7)) for _ in range(num)]
    labels = task.encode([[TAGS[number % 3] for number in each] for each in words], TAGS)
    split = tokens.encode([[f"w{number}" for number in each] for each in words], labels, tokenizer())
    rows = np.arange(num)
    return Dataset(
        train=split.take(rows[: num // 2]),
        validation=split.take(rows[num // 2 : num * 3 // 4]),
        held_out=split.take(rows[num * 3 // 4 :]),
        labels=TAGS,
        task=task,
        preprocessing=TextPreprocessing(max_length=16),
        files={text.FILE: text.save(tokenizer(), folder)},
    )


class OfTokens(nn.Module):
    """Logits of each token, by the token alone."""

    def __init__(self, hidden: int, num_outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(NUM_WORDS + 4, 8)
        self.layers = nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, num_outputs))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found: Tensor = self.layers(self.embedding(input_ids) + 0 * attention_mask[:, :, None].to(torch.float32))
        return found
