"""A predictor whose requests name rows of a table: they are looked up before batching, while other requests compute."""

from collections.abc import Mapping
from dataclasses import replace
from time import monotonic
from typing import Protocol

import numpy as np

from deployments.embeddings.reader import Reader
from deployments.errors import DeadlineError, RequestError
from deployments.oip.tensors import Array
from deployments.oip.urgency import Urgency

_USUAL = Urgency()


class Predicts(Protocol):
    """Tensors in, tensors out, as `deployments.execution.predictor.Predictor` does."""

    async def predict(self, tensors: Mapping[str, Array], urgency: Urgency = ...) -> dict[str, Array]:
        """The outputs for these inputs."""


class EmbeddedPredictor:
    """Answers ids where `predictor` answers rows: its input `rows` is what `reader` finds for the input `ids`."""

    def __init__(self, predictor: Predicts, reader: Reader, *, ids: str, rows: str) -> None:
        self._predictor = predictor
        self._reader = reader
        self._ids = ids
        self._rows = rows

    async def predict(self, tensors: Mapping[str, Array], urgency: Urgency = _USUAL) -> dict[str, Array]:
        """The model's outputs; `ids` of shape [batch, ...] become rows of shape [batch, ..., width], FP32.

        Raises:
            RequestError: the ids are missing, of another type or unknown; else as the predictor and the reader do.
            DeadlineError: the time that `urgency` gives passed while rows were looked up.
        """
        ids = tensors.get(self._ids)
        if ids is None or ids.dtype != np.int64:
            raise RequestError(f"input {self._ids!r} must be INT64, got {None if ids is None else ids.dtype}")
        began = monotonic()
        rows = await self._reader.lookup(ids)
        fed = {name: each for name, each in tensors.items() if name != self._ids}
        fed[self._rows] = rows.astype(np.float32)
        if urgency.timeout_s is not None:
            left_s = urgency.timeout_s - (monotonic() - began)
            if left_s <= 0:
                raise DeadlineError(
                    f"the request must be answered within {urgency.timeout_s:g} s: its rows took longer"
                )
            urgency = replace(urgency, timeout_s=left_s)
        return await self._predictor.predict(fed, urgency)
