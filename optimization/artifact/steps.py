"""Drives a model that answers step by step to its end, as the manifest says: each step reads what the last one gave."""

from typing import Any

import numpy as np
from onnxruntime import InferenceSession

from optimization.artifact.manifest import Stream
from optimization.artifact.raw.prepare import Array


def drive(session: InferenceSession, stream: Stream, feeds: dict[str, Array]) -> Array:
    """What the first of `stream.emit` is after each step, of shape [samples, max_steps, ...].

    `feeds` are the inputs of the first step, those that are carried among them. A sample that has ended goes on with
    what it ended in.
    """
    emitted, read = stream.emit[0], dict(feeds)
    names = [*dict.fromkeys([emitted, *stream.carry, *stream.until])]
    found: list[Array] = []
    is_done: Any = np.zeros(len(next(iter(feeds.values()))), bool)
    while len(found) < stream.max_steps and not is_done.all():
        outputs = dict(zip(names, session.run(names, read), strict=True))
        step = outputs[emitted].copy()
        if found:
            step[is_done] = found[-1][is_done]
        found.append(step)
        read |= {into: outputs[out] for out, into in stream.carry.items()}
        for name, value in stream.until.items():
            is_done |= (outputs[name] == value).reshape(len(is_done), -1).all(axis=1)
    found += found[-1:] * (stream.max_steps - len(found))
    return np.stack(found, axis=1)
