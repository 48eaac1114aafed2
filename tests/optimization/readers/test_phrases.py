from pathlib import Path

import numpy as np
import tokenizers
import torch

from optimization.readers import phrases, text
from optimization.readers.examples import Dataset, Split
from optimization.recipe.methods import Training
from optimization.recipe.sources import Phrases
from optimization.tasks.classification import Classification
from optimization.tasks.task import UNLABELLED
from optimization.training.job import Job
from optimization.training.loop import Place, fit

TEXTS = ["a cab", "cab b", "abde", "a a"]


def words() -> tokenizers.Tokenizer:
    """A tokenizer of whole words."""
    names = ["[PAD]", "[UNK]", "a", "b", "cab", "abde"]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({name: each for each, name in enumerate(names)}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.enable_padding(pad_id=0, pad_token="[PAD]")
    return made


def test_made_texts_are_of_the_words_and_joints_there_are_and_equal_seeds_make_equal_ones() -> None:
    texts = ["one two three four five", "six", "seven eight nine ten eleven twelve"]
    made = phrases.recombined(texts, 200, joints=("and", ";"), seed=1)
    assert made == phrases.recombined(texts, 200, joints=("and", ";"), seed=1)
    assert set(" ".join(made).split()) <= {*" ".join(texts).split(), "and", ";"}
    assert max(len(each.split()) for each in made) <= 40
    assert len(set(made)) > 50


def test_made_texts_stand_after_the_others_without_a_label(tmp_path: Path) -> None:
    split = text.encode(TEXTS, np.array([0, 1, 0, 1]), words())
    files = {text.FILE: text.save(words(), tmp_path)}
    dataset = Dataset(train=split, validation=split, held_out=split, labels=("no", "yes"), files=files)
    longer = phrases.extend(dataset, Phrases(num=3), seed=0).train
    assert longer.labels.tolist() == [0, 1, 0, 1, *[UNLABELLED] * 3]
    assert longer.texts is not None and longer.texts[:4].tolist() == TEXTS
    np.testing.assert_array_equal(longer.labelled().labels, split.labels)


def test_examples_without_a_label_have_no_hard_loss() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, UNLABELLED, 1, UNLABELLED])
    for logits in (torch.randn(4, 1), torch.randn(4, 3)):
        losses = Classification().hard_loss(logits, labels)
        torch.testing.assert_close(losses[[0, 2]], Classification().hard_loss(logits[[0, 2]], labels[[0, 2]]))
        assert losses[1] == losses[3] == 0


def test_who_has_no_teacher_sees_none_of_them() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(40, 3)).astype(np.float32)
    labels = random.integers(0, 2, 40)
    labels[30:] = UNLABELLED
    weights = []
    for split in (Split(inputs={"x": inputs}, labels=labels), Split(inputs={"x": inputs[:30]}, labels=labels[:30])):
        torch.manual_seed(0)
        job = Job(step="control", model=torch.nn.Linear(3, 1), training=Training(epochs=2, batch_size=10), seed=0)
        *_, last = fit(job, split, Silent(), Place())
        assert last.weights is not None
        weights.append(last.weights["weight"])
    torch.testing.assert_close(*weights)


class Silent:
    """Counts nothing."""

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        pass
