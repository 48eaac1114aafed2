"""What every kind of raw input comes down to."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Prepare = Callable[[Array], dict[str, Array]]
"""Makes the model's tensors of BYTES elements, of shape [batch]; a bad one raises `RawInputError`."""


class RawInputError(ValueError):
    """An element is no text or picture, or one that may not be decoded."""
