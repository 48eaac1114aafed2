from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from optimization.artifact import TextPreprocessing
from optimization.errors import DataError
from optimization.examples import Dataset
from optimization.readers import text, vocabulary

LETTERS = "abcde"
WORDS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, "ab", "cab", "##a", "##b", "##de", "##c"]
TEXTS = ["a cab", "cab b", "abde", "a a"]
SENTENCES = st.lists(st.text(LETTERS, min_size=1, max_size=6), min_size=1, max_size=6).map(" ".join)


def wordpiece() -> tokenizers.Tokenizer:
    """As BERT's."""
    numbers = {word: number for number, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(numbers, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    )
    made.enable_padding(pad_id=0, pad_token="[PAD]")
    return made


@given(SENTENCES, st.integers(4, len(WORDS)))
def test_both_tokenizers_cut_texts_of_kept_tokens_alike_and_others_into_kept_tokens(sentence: str, size: int) -> None:
    whole = wordpiece()
    small, ids = vocabulary.prune(whole, TEXTS, size)
    before, after = (each.encode(sentence) for each in (whole, small))
    if set(before.ids) <= set(ids):
        assert after.tokens == before.tokens
        np.testing.assert_array_equal(ids[after.ids], before.ids)
    assert set(after.tokens) <= {WORDS[each] for each in ids}
    assert after.tokens[0] == "[CLS]" and after.tokens[-1] == "[SEP]"
    assert small.get_vocab_size() == len(ids) <= size


def test_frequent_tokens_stay_and_what_the_vocabulary_keeps_for_later_use_goes() -> None:
    _, ids = vocabulary.prune(wordpiece(), TEXTS, 6)
    assert [WORDS[each] for each in ids] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cab"]
    _, ids = vocabulary.prune(wordpiece(), TEXTS, 1000)
    assert len(ids) == len(WORDS) - 1


def test_pair_of_classic_bert_keeps_its_special_tokens() -> None:
    whole = wordpiece()
    whole.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3))
    small, _ = vocabulary.prune(whole, TEXTS, 8)
    assert small.encode("a").tokens == ["[CLS]", "a", "[SEP]"]


def test_data_and_artifact_have_the_smaller_tokenizer(tmp_path: Path) -> None:
    whole = wordpiece()
    split = text.encode(TEXTS, np.array([0, 1, 0, 1]), whole)
    dataset = Dataset(
        train=split,
        held_out=split,
        labels=("no", "yes"),
        preprocessing=TextPreprocessing(max_length=8),
        files={text.FILE: text.save(whole, tmp_path)},
    )
    small = vocabulary.shrink(dataset, 10)
    served = tokenizers.Tokenizer.from_file(str(small.files[text.FILE]))
    ids = small.held_out.inputs["input_ids"]
    np.testing.assert_array_equal(ids, [each.ids for each in served.encode_batch(TEXTS)])
    np.testing.assert_array_equal(small.vocabulary[ids], split.inputs["input_ids"])


def test_vocabulary_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(DataError, match="must be at least the 4 special tokens, got 3"):
        vocabulary.prune(wordpiece(), TEXTS, 3)
    with pytest.raises(DataError, match="needs a WordPiece tokenizer, as BERT's, got BPE"):
        vocabulary.prune(tokenizers.Tokenizer(tokenizers.models.BPE()), TEXTS, 100)
