"""Numbers as Prometheus writes them."""

import math

import numpy as np


def number_text(value: float) -> str:
    """Without an exponent between a millionth and 10^21."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text:
        return text if not 1e-6 <= abs(value) < 1e21 else np.format_float_positional(value, trim="-")
    return text.removesuffix(".0")
