import numpy as np

from optimization.readers import streaming
from optimization.readers.examples import Split


def test_bytes_are_brightnesses_only_where_they_hold_pixels() -> None:
    values = np.array([[0, 51], [255, 102]], np.uint8)
    codes = Split(inputs={"x": values}, labels=np.array([0, 1]))
    pixels = Split(inputs={"x": values}, labels=np.array([0, 1]), pixels=frozenset(["x"]))
    rows = np.array([1, 0])
    assert codes.batch(rows)["x"].dtype == np.uint8
    np.testing.assert_array_equal(codes.batch(rows)["x"], values[rows])
    np.testing.assert_allclose(pixels.batch(rows)["x"], np.float32([[1, 0.4], [0, 0.2]]), rtol=1e-6)
    for split in (codes, pixels):
        streamed = streaming.split(streaming.columns(split.take(rows), rows, 2))
        np.testing.assert_array_equal(streamed.batch(np.arange(2))["x"], split.batch(rows)["x"])
