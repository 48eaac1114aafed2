"""Blocks of points: lossless, and damage is told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from telemetry.storage.block import Block, DamagedBlockError, decoded, encoded
from telemetry.storage.layout import Layout

NUM = st.integers(0, 40)


@st.composite
def blocks(draw):
    num, width = draw(NUM), draw(st.integers(1, 5))
    values = st.one_of(st.floats(width=64), st.integers(-(2**60), 2**60).map(float), st.just(-0.0))
    columns = draw(st.sampled_from([1, 3]))
    layout = draw(
        st.sampled_from([None, Layout.explicit(tuple(range(width - 1))), Layout(indexes=(3,) * width, scale=2)])
    )
    whole = st.integers(-(2**63), 2**63 - 1)
    return Block(
        ids=draw(arrays(np.int64, num, elements=st.integers(0, 5))),
        times_ms=draw(arrays(np.int64, num, elements=st.integers(0, 2**45))),
        columns=tuple(draw(arrays(np.float64, num, elements=values)) for _ in range(columns)),
        counts=None if layout is None else draw(arrays(np.int64, (num, width), elements=whole)),
        layout=layout,
    ).ordered()


@settings(max_examples=80)
@given(blocks())
def test_a_block_comes_back_bit_for_bit(block):
    again = decoded(encoded(block))
    assert again.layout == block.layout
    assert np.array_equal(again.ids, block.ids)
    assert np.array_equal(again.times_ms, block.times_ms)
    for column, kept in zip(block.columns, again.columns, strict=True):
        assert column.tobytes() == kept.tobytes()
    assert (block.counts is None) == (again.counts is None)
    assert block.counts is None or np.array_equal(again.counts, block.counts)


def test_any_flipped_byte_is_told():
    rng = np.random.default_rng(1)
    ids, times = np.repeat(np.arange(4), 30), np.tile(np.arange(30) * 1000, 4)
    raw = encoded(Block(ids=ids, times_ms=times, columns=(rng.normal(size=120),)))
    for at in range(len(raw)):
        damaged = bytearray(raw)
        damaged[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(DamagedBlockError):
            decoded(bytes(damaged))
            raise DamagedBlockError  # a bit of the frame's header that means nothing: the content is as it was


def test_of_points_with_one_time_the_last_to_come_is_kept():
    block = Block(ids=np.array([1, 0, 1]), times_ms=np.array([5, 5, 5]), columns=(np.array([1.0, 2.0, 3.0]),)).ordered()
    assert (block.ids.tolist(), block.columns[0].tolist()) == ([0, 1], [2.0, 3.0])


def test_a_steady_series_takes_a_byte_a_point_and_a_noisy_one_less_than_eight():
    times = 1_800_000_000_000 + np.tile(np.arange(600) * 1000, 64)
    ids = np.repeat(np.arange(64), 600)
    rng = np.random.default_rng(0)
    counter = np.cumsum(rng.poisson(100, len(ids))).astype(float)
    noisy = rng.lognormal(size=len(ids))
    assert len(encoded(Block(ids=ids, times_ms=times, columns=(counter,)))) < 1.5 * len(ids)
    assert len(encoded(Block(ids=ids, times_ms=times, columns=(noisy,)))) < 8 * len(ids)
