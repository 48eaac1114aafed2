"""Makes further texts of those there are; a student learns the teacher's answers to them (Tang 2019, arXiv:1903.12136).

They have no label: the teacher's own training and the control do without them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tokenizers

from optimization.errors import DataError
from optimization.readers import text
from optimization.readers.examples import Dataset
from optimization.recipe.sources import Phrases
from optimization.tasks.task import UNLABELLED

_FEWEST_WORDS = 5
"""Of each of two texts that are joined; of others, three are."""
_MOST_WORDS = 40
_OF_TWO = 0.75
"""Share of the texts that are made of two."""
_SHORTENED, _LEFT_OUT = 0.3, 0.1
"""Share of the texts that lose words, and of their words."""


def extend(dataset: Dataset, config: Phrases, seed: int) -> Dataset:
    """The data with texts made of its training texts after them.

    Raises:
        DataError: the data are no texts in memory.
    """
    texts = dataset.train.texts
    if texts is None or text.FILE not in dataset.files:
        raise DataError("data.phrases must be left out where the data are no texts in memory")
    every = [str(each) for each in texts]
    every += recombined(every, config.num, config.joints, seed)
    labels = np.full(len(every), UNLABELLED, np.int64)
    labels[: len(texts)] = dataset.train.labels
    tokenizer = tokenizers.Tokenizer.from_file(str(dataset.files[text.FILE]))
    return replace(dataset, train=text.encode(every, labels, tokenizer))


def recombined(texts: Sequence[str], num: int, joints: Sequence[str], seed: int) -> list[str]:
    """Texts of two or three others with one of `joints` between them, some with words left out."""
    random = np.random.default_rng(seed)
    longer = [each for each in texts if len(each.split()) >= _FEWEST_WORDS] or texts
    made = []
    for _ in range(num):
        pool, several = (longer, 2) if random.random() < _OF_TWO else (texts, 3)
        first, *others = (pool[place] for place in random.integers(len(pool), size=several))
        words = (first + "".join(f" {random.choice(joints)} {each}" for each in others)).split()[:_MOST_WORDS]
        if random.random() < _SHORTENED:
            words = [word for word in words if random.random() > _LEFT_OUT] or words
        made.append(" ".join(words))
    return made
