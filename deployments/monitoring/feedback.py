"""Labels that come later: an answer is kept by its request's id for a while, and judged once its label is known.

answered -> kept by id, for so long and so many -> POST feedback -> right? counted, by class and attribute
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.errors import RequestError
from deployments.monitoring.answers import classes, is_regressor, numbers
from deployments.oip.tensors import Array
from deployments.settings import FeedbackSettings
from optimization.artifact.manifest import Manifest
from telemetry import conventions
from telemetry.emitting.emitter import Emitter

MOST_SEGMENTS = 100
"""Values of one attribute that are told apart; any further one is "other"."""
OTHER = "other"
_Text = Annotated[str, Field(min_length=1, max_length=64)]


class Label(BaseModel):
    """What the answer to one row should have been."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1, max_length=256)]
    """Of the request: the protocol's `id`, or its header `x-request-id`."""
    row: int = Field(default=0, ge=0)
    label: int | float | str
    """The class, by its number or its name; of a model that answers with numbers, the number."""
    attributes: dict[_Text, _Text] = Field(default={}, max_length=4)
    """What the row belongs to, such as a region: accuracy is told for each value."""


class Labels(BaseModel):
    """What a request to `/feedback` carries."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: list[Label] = Field(min_length=1, max_length=10_000)


@dataclass(slots=True)
class _Kept:
    answers: NDArray[np.int64] | NDArray[np.float64]
    """The class or the number of each row."""
    judged: set[int]
    until_s: float
    length: int
    """Bytes of the request's first input in one row."""


class Feedback:
    """What one version answered, by request; belongs to one event loop."""

    def __init__(
        self,
        manifest: Manifest,
        settings: FeedbackSettings,
        emitter: Emitter,
        *,
        joined: Callable[[str, int, int], None] = lambda _request_id, _row, _label: None,
    ) -> None:
        """`joined` is called with each label that was joined: of which request and row, and which class."""
        self._manifest = manifest
        self._tell_joined = joined
        self._settings = settings
        self._answers = numbers if is_regressor(manifest) else classes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._segments: dict[str, set[str]] = {}
        self._right = emitter.bin_counts(conventions.ACCURACY_ROWS)
        quality = manifest.measurements[-1].quality if manifest.measurements else None
        self._version = ((conventions.MODEL_VERSION, manifest.version),)
        self._reference: tuple[tuple[str, str], ...] = ()
        if quality is not None and quality.metric == "accuracy":
            good = round(quality.value * quality.num_samples)
            self._reference = ((conventions.REFERENCE_COUNTS, f"{good},{quality.num_samples - good}"),)
            self._right.add((0.5,), (0, 0), (*self._version, *self._reference))

    def keep(self, request_id: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Remember what was answered."""
        first = next(iter(inputs.values()))
        length = len(first[0]) if first.dtype == object else first[:1].nbytes
        found = self._answers(self._manifest, outputs)
        self._kept[request_id] = _Kept(found, set(), time.monotonic() + self._settings.keep_s, length)
        self._kept.move_to_end(request_id)
        self._forget()

    def join(self, labels: Iterable[Label]) -> set[tuple[str, int]]:
        """Judge the rows that are known, each once, and return which they are.

        Raises:
            RequestError: a label is none of the model's.
        """
        self._forget()
        joined: set[tuple[str, int]] = set()
        for label in labels:
            wanted = self._class(label) if self._settings.tolerance is None else self._number(label)
            kept = self._kept.get(label.id)
            if kept is None or label.row >= len(kept.answers) or label.row in kept.judged:
                continue
            kept.judged.add(label.row)
            joined.add((label.id, label.row))
            self._judge(label, kept, wanted)
            if self._settings.tolerance is None:  # what is retrained on are classes
                self._tell_joined(label.id, label.row, int(wanted))
        return joined

    def _judge(self, label: Label, kept: _Kept, wanted: float) -> None:
        is_right = abs(kept.answers[label.row] - wanted) <= (self._settings.tolerance or 0.0)
        counts = (1, 0) if is_right else (0, 1)
        self._right.add((0.5,), counts, (*self._version, *self._reference))
        of_class = {"class": self._name(int(wanted))} if self._settings.tolerance is None else {}
        segments = {**of_class, "bytes": _magnitude(kept.length), **label.attributes}
        for name, value in segments.items():
            known = self._segments.setdefault(name, set()) if len(self._segments) < 8 else self._segments.get(name)
            if known is None:
                continue
            if value not in known and len(known) >= MOST_SEGMENTS:
                value = OTHER
            known.add(value)
            where = ((conventions.SEGMENT, name), (conventions.SEGMENT_VALUE, value))
            self._right.add((0.5,), counts, (*self._version, *where))

    def _class(self, label: Label) -> int:
        names = self._manifest.labels or ()
        if isinstance(label.label, int):
            return label.label
        if isinstance(label.label, str) and label.label in names:
            return names.index(label.label)
        raise RequestError(f"label must be one of {', '.join(names) or 'the classes, by number'}, got {label.label!r}")

    def _number(self, label: Label) -> float:
        if isinstance(label.label, str) or not math.isfinite(label.label):
            raise RequestError(f"label must be a finite number, as the model's answers are, got {label.label!r}")
        return float(label.label)

    def _name(self, number: int) -> str:
        names = self._manifest.labels or ()
        return names[number] if 0 <= number < len(names) else str(number)

    def _forget(self) -> None:
        now_s = time.monotonic()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if len(self._kept) <= self._settings.max_requests and oldest.until_s >= now_s:
                return
            self._kept.popitem(last=False)


def labels_of(body: bytes) -> list[Label]:
    """The labels that a body carries.

    Raises:
        RequestError: it is no such JSON.
    """
    try:
        return Labels.model_validate_json(body).labels
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the body"
        raise RequestError(f'{where}: {problem["msg"]}; send {{"labels": [{{"id": ..., "label": ...}}]}}') from error


def _magnitude(size: int) -> str:
    """Sizes that are alike: from a power of four up to the next."""
    low = 1
    while low * 4 <= size:
        low *= 4
    return f"{low}-{low * 4 - 1}"
