"""An output as its highest classes, the form of Triton's classification extension: "value:index:label".

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from collections.abc import Sequence

import numpy as np

from deployments.errors import RequestError
from deployments.oip.tensors import Array


def highest(name: str, output: Array, count: int, labels: Sequence[str] | None) -> Array:
    """The `count` highest elements of each sample, highest first, as strings; of equal ones the first.

    The shape is `[batch, count]`, or `[count]` for an output of one dimension.

    Raises:
        RequestError: the output has no numbers, or fewer than `count`.
    """
    rows = output.reshape(len(output), -1) if output.ndim > 1 else output.reshape(1, -1)
    num_classes = rows.shape[1]
    if rows.dtype == object:
        raise RequestError(f"output {name!r} holds BYTES, which have no highest classes")
    if count > num_classes:
        raise RequestError(f"output {name!r} has {num_classes} classes, classification asks for {count}")
    # Of the reversed row, so that a stable sort puts the first of equal elements last, which is then the highest.
    order = num_classes - 1 - np.argsort(rows[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    names = labels if labels is not None and len(labels) == num_classes else None
    texts = [
        [_text(value, int(index), names) for value, index in zip(row[indices].tolist(), indices, strict=True)]
        for row, indices in zip(rows, order, strict=True)
    ]
    classes = np.array(texts, dtype=object)
    return classes if output.ndim > 1 else classes.reshape(count)


def _text(value: float, index: int, labels: Sequence[str] | None) -> str:
    number = f"{value:f}" if isinstance(value, float) else str(value)
    return f"{number}:{index}" if labels is None else f"{number}:{index}:{labels[index]}"
