"""What every kind of raw input comes down to."""

from collections.abc import Callable

from deployments.oip.tensors import Array

Prepare = Callable[[Array], dict[str, Array]]
"""Makes the model's tensors of BYTES elements, of shape [batch]; a bad one raises `RequestError`."""
