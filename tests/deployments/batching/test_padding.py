"""Sequences of unequal length in one batch: what a padded model answers is what it answers alone."""

import asyncio

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.batching.admission import Limits
from deployments.batching.batcher import Batcher
from deployments.batching.padding import SHORT, WASTE, alike, padding_for
from optimization.artifact.manifest import TensorSpec


def spec(name, *shape, datatype="INT64"):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


IDS, MASK = spec("input_ids", "batch", "sequence"), spec("attention_mask", "batch", "sequence")
POOLED = spec("pooled", "batch", 2, datatype="FP32")
PER_TOKEN = spec("per_token", "batch", "sequence", 3, datatype="FP32")


def test_a_model_without_an_attention_mask_is_not_padded():
    assert padding_for([IDS], [POOLED]) is None
    assert padding_for([IDS, spec("attention_mask", "batch", 128)], [POOLED]) is None


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 20)), min_size=1, max_size=6))
def test_what_is_stacked_and_cut_is_what_went_in(shapes):
    padding = padding_for([IDS, MASK], [POOLED, PER_TOKEN])
    arrays = [np.full(shape, number + 1) for number, shape in enumerate(shapes)]
    batch = padding.stack("input_ids", arrays)
    longest = max(length for _, length in shapes)
    assert batch.shape == (sum(rows for rows, _ in shapes), longest)
    at = 0
    for array, (rows, length) in zip(arrays, shapes, strict=True):
        own = batch[at : at + rows]
        np.testing.assert_array_equal(own[:, :length], array)
        assert not own[:, length:].any()
        outputs = np.zeros((rows, longest, 3))
        assert padding.cut("per_token", outputs, length).shape == (rows, length, 3)
        assert padding.cut("pooled", np.zeros((rows, 2)), length).shape == (rows, 2)
        at += rows


@settings(max_examples=40)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_a_masked_model_answers_in_a_batch_what_it_answers_alone_and_little_is_padded(lengths):
    calls = []

    def run(feeds):
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        calls.append(mask.sum(axis=1))
        return {
            "pooled": (ids * mask).sum(axis=1, keepdims=True) / mask.sum(axis=1, keepdims=True),
            "per_token": 2 * ids,
        }

    requests = [np.arange(1, length + 1)[None] * (number + 1) for number, length in enumerate(lengths)]

    async def main():
        padding = padding_for([IDS, MASK], [POOLED, PER_TOKEN])
        batcher = Batcher(run, Limits(max_batch_size=8), inline=True, report=lambda _: None, padding=padding)
        batcher.start()
        asked = [batcher.submit({"input_ids": ids, "attention_mask": np.ones_like(ids)}) for ids in requests]
        answers = await asyncio.gather(*asked)
        await batcher.stop()
        return answers

    for ids, answer in zip(requests, asyncio.run(main()), strict=True):
        np.testing.assert_allclose(answer.outputs["pooled"], ids.mean(axis=1, keepdims=True))
        np.testing.assert_array_equal(answer.outputs["per_token"], 2 * ids)
    assert all(tokens.max() <= WASTE * max(SHORT, WASTE * tokens.min()) for tokens in calls)


def test_sequences_of_very_different_length_do_not_share_a_batch():
    assert alike(3, 16)
    assert alike(80, 100)
    assert not alike(20, 100)


def test_raw_text_counts_by_its_bytes():
    padding = padding_for([IDS, MASK], [POOLED])
    texts = np.array([b"short", b"a sentence of forty bytes, give or take."], dtype=object)
    assert padding.length({"text": texts}) == 10
