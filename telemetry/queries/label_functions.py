"""label_replace and label_join."""

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from telemetry.queries.errors import QueryError
from telemetry.queries.labels import Labels, labels_of
from telemetry.queries.matching import anchored, matches
from telemetry.queries.vectors import Vector

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))|\\")
_NAMED = re.compile(r"\((?!\?)|\(\?P?<(\w+)>")


def label_replace(vector: Vector, target: str, replacement: str, source: str, pattern: str) -> Vector:
    """Set `target` from what `pattern` finds in `source`, where it fits the whole of it.

    Raises:
        QueryError: the pattern or the target's name is none.
    """
    if not _LABEL.fullmatch(target):
        raise QueryError("execution", f"invalid destination label name in label_replace(): {target}")
    sources = [dict(labels).get(source, "") for labels in vector.labels]
    fits = matches(pattern, sources)
    replaced = _replaced(sources, pattern, replacement)
    return _relabelled(
        vector,
        [
            labels_of([*labels, (target, new)]) if fit else labels
            for labels, fit, new in zip(vector.labels, fits, replaced, strict=True)
        ],
    )


def label_join(vector: Vector, target: str, separator: str, sources: Sequence[str]) -> Vector:
    """Set `target` to the values of `sources`, one after the other.

    Raises:
        QueryError: the target's name is none.
    """
    if not _LABEL.fullmatch(target):
        raise QueryError("execution", f"invalid destination label name in label_join(): {target}")
    found = [dict(labels) for labels in vector.labels]
    return _relabelled(
        vector,
        [
            labels_of([*each.items(), (target, separator.join(each.get(name, "") for name in sources))])
            for each in found
        ],
    )


def _replaced(sources: list[str], pattern: str, replacement: str) -> list[str]:
    try:
        replaced: list[str] = pc.replace_substring_regex(
            pa.array(sources, pa.string()), anchored(pattern), _rewrite(pattern, replacement)
        ).to_pylist()
    except pa.ArrowInvalid as error:
        raise QueryError("bad_data", f"error parsing regexp: {error}") from None
    return replaced


def _rewrite(pattern: str, replacement: str) -> str:
    r"""Go's way to name groups (`$1`, `${name}`) in RE2's own (`\1`); a group that is not there is empty."""
    plain = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "", pattern)
    groups = [match.group(1) or "" for match in _NAMED.finditer(plain)]

    def reference(match: re.Match[str]) -> str:
        if match.group(0) == "\\":
            return r"\\"
        if match.group(0) == "$$":
            return "$"
        name = match.group(1) or match.group(2)
        number = int(name) if name.isdigit() else groups.index(name) + 1 if name in groups else -1
        return f"\\{number}" if 0 <= number <= min(len(groups), 9) else ""

    return _REFERENCE.sub(reference, replacement)


def _relabelled(vector: Vector, labels: list[Labels]) -> Vector:
    return Vector(labels=labels, values=vector.values, present=vector.present).merged()
