"""The codec of tensors, against numpy and the protocol's text."""

import struct

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


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_data_nested_deeper_than_the_stack_is_refused(datatype):
    data = [1.0]
    for _ in range(5000):
        data = [data]
    with pytest.raises(RequestError, match=r"rectangular|takes strings"):
        from_json("x", datatype, [1], data)


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
