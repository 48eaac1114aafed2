"""The codec of tensors, against numpy and the protocol's text."""

import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deployments.errors import RequestError
from deployments.oip.tensors import DTYPES, check_finite, from_binary, from_json, to_binary, to_json

NUMERIC = {name: dtype for name, dtype in DTYPES.items() if name != "BYTES"}


@st.composite
def tensors(draw):
    datatype = draw(st.sampled_from(sorted(NUMERIC)))
    dtype = NUMERIC[datatype]
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
    if datatype == "BF16":  # hypothesis knows only numpy's own types; bfloat16 is float32 cut short
        finite = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**127), max_value=2.0**127)
        return datatype, draw(hnp.arrays(np.float32, shape, elements=finite)).astype(dtype)
    options = {"allow_nan": False, "allow_infinity": False} if datatype.startswith("FP") else {}
    return datatype, draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, **options)))


@given(tensors())
def test_a_tensor_survives_json(pair):
    datatype, array = pair
    again = from_json("x", datatype, array.shape, to_json("x", array))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@given(tensors())
def test_a_tensor_survives_binary(pair):
    datatype, array = pair
    again = from_binary("x", datatype, array.shape, memoryview(to_binary(array)))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_bytes_survive_binary(elements):
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    again = from_binary("x", "BYTES", [len(elements)], memoryview(to_binary(array)))
    assert again.tolist() == elements


def test_bytes_elements_carry_a_little_endian_length():
    """Triton's binary extension: each element is preceded by its length in 4 bytes."""
    array = np.array([b"ab", b""], dtype=object)
    assert to_binary(array) == struct.pack("<I", 2) + b"ab" + struct.pack("<I", 0)


@given(st.binary(max_size=40), st.integers(0, 6))
def test_any_bytes_are_read_or_refused(raw, count):
    try:
        array = from_binary("x", "BYTES", [count], memoryview(raw))
    except RequestError:
        return
    assert to_binary(array) == raw


@given(st.lists(st.text(max_size=8), min_size=1, max_size=8))
def test_text_survives_json(texts):
    array = from_json("x", "BYTES", [len(texts)], texts)
    assert array.tolist() == [text.encode() for text in texts]
    assert to_json("x", array) == texts


def test_bytes_that_json_cannot_carry_are_refused():
    with pytest.raises(RequestError, match="output 'x' holds bytes that are no UTF-8"):
        to_json("x", np.array([b"\xff\xd8"], dtype=object))


def test_data_nested_deeper_than_the_stack_is_read_or_refused():
    data = [1.0]
    for _ in range(5000):
        data = [data]
    assert from_json("x", "FP32", [1], data).tolist() == [1]
    with pytest.raises(RequestError, match=r"takes strings, got 1\.0"):
        from_json("x", "BYTES", [1], data)


@pytest.mark.parametrize("datatype", sorted(NUMERIC))
def test_one_long_text_among_many_short_ones_costs_no_room_for_as_long_as_the_longest(datatype):
    """Of numpy's own making, it would be 4 bytes for each letter of the longest, times the number of texts."""
    data = ["a" * 10_000, *["b"] * 5_000]
    tracemalloc.start()
    with pytest.raises(RequestError, match="cannot hold 'aaa"):
        from_json("x", datatype, [len(data)], data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_a_message_is_short_whatever_was_got():
    with pytest.raises(RequestError) as caught:
        from_json("x", "INT8", [1], [{"a" * 10_000: ["b" * 10_000] * 1000}])
    assert len(str(caught.value)) < 1000


def test_a_million_empty_elements_are_split_with_no_more_than_a_step_for_each():
    raw = memoryview(bytes(4 * 2**20))
    began = time.process_time()
    assert from_binary("x", "BYTES", [2**20], raw).shape == (2**20,)
    assert time.process_time() - began < 1.5  # a fifth of a second on a usual core


def test_elements_that_the_shape_does_not_take_are_refused_before_they_are_made():
    raw = memoryview(bytes(4 * 2**20))
    tracemalloc.start()
    with pytest.raises(RequestError, match="takes 3 elements, got 3 and 4194292 bytes more"):
        from_binary("x", "BYTES", [3], raw)
    with pytest.raises(RequestError, match="takes 2000000 elements, got at most 1048576"):
        from_binary("x", "BYTES", [2_000_000], raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(raw)


def test_nested_json_is_row_major():
    flat = from_json("x", "INT32", [2, 3], [0, 1, 2, 3, 4, 5])
    nested = from_json("x", "INT32", [2, 3], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(flat, nested)


@pytest.mark.parametrize(
    ("datatype", "data", "said"),
    [
        ("FP32", ["1"], "'1'"),
        ("FP32", [None], "None"),
        ("FP32", [True], "True"),
        ("INT32", [1.5], "1.5"),
        ("UINT8", [256], r"\[0, 255\], got 256"),
        ("UINT8", [-1], "got -1"),
        ("INT64", [2**70], f"got {2**70}"),
        ("FP32", [2**70, None], "None"),
        ("BOOL", [2], "BOOL cannot hold"),
        ("BYTES", [1], "takes strings, got 1"),
        ("FP32", [[1.0], [1.0, 2.0]], "rectangular"),
        ("FP32", [1.0, 2.0], "takes 1 elements, data has 2"),
        ("FP32", "abc", "must be a list, got str"),
    ],
)
def test_wrong_json_is_refused_with_its_reason(datatype, data, said):
    with pytest.raises(RequestError, match=said):
        from_json("x", datatype, [1], data)


def test_the_largest_unsigned_integer_is_exact():
    """numpy alone takes such a list for floats."""
    assert from_json("x", "UINT64", [2], [2**64 - 1, 0]).tolist() == [2**64 - 1, 0]


def test_wrong_number_of_bytes_is_refused():
    with pytest.raises(RequestError, match=r"FP32 of shape \[2\] takes 8 bytes, got 7"):
        from_binary("x", "FP32", [2], memoryview(bytes(7)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_not_finite_is_named(bad):
    array = np.zeros((2, 3), np.float32)
    array[1, 2] = bad
    with pytest.raises(RequestError, match=r"must be finite, got .* at \[1, 2\]"):
        check_finite("x", array)


def test_large_finite_numbers_pass_though_their_sum_overflows():
    check_finite("x", np.full(4, np.finfo(np.float32).max, np.float32))
