"""Counts named entities by the labels of words, as the CoNLL shared tasks do (Tjong Kim Sang 2000, W00-0726).

`B-` begins an entity and `I-` goes on; of a single word also `S-` or `U-`, at an end `E-` or `L-`. An `I-` that goes on
with nothing begins one, as in conlleval. A label without such a beginning is of no entity.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_BEGINS, _ENDS, _GOES_ON = "BSU", "ESLU", "I"

Entity = tuple[str, int, int]
"""Its kind, its first word and the one behind its last."""


def entities(labels: Sequence[str]) -> set[Entity]:
    """All entities of one text."""
    return set(_entities(labels))


def counts(labels: NDArray[np.object_], answers: NDArray[np.object_]) -> NDArray[np.float64]:
    """Of each text: entities found that are there, and those found or there, both counted: [texts, 2]."""
    pairs = [(entities(one), entities(other)) for one, other in zip(labels, answers, strict=True)]
    return np.array([(len(one & other), len(one) + len(other)) for one, other in pairs], np.float64).reshape(-1, 2)


def f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 of all entities together, by what `counts` gives, summed; no number where there are none."""
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * sums[..., 0] / sums[..., 1])


def _entities(labels: Sequence[str]) -> Iterator[Entity]:
    kind, first = "", 0
    for place, label in enumerate([*labels, ""]):
        prefix, dash, of = label.partition("-")
        is_entity = bool(dash) and prefix in (*_BEGINS, *_ENDS, _GOES_ON)
        if kind and (not is_entity or prefix in _BEGINS or of != kind or _is_over(labels[place - 1])):
            yield kind, first, place
            kind = ""
        if is_entity and not kind:
            kind, first = of, place


def _is_over(label: str) -> bool:
    """Whether an entity ends with that label."""
    return label[0] in _ENDS
