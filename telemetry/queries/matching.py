"""Label matchers. Patterns run in RE2, which Arrow brings: its time grows with the text alone, whatever the pattern."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from telemetry.queries.errors import QueryError
from telemetry.queries.labels import NAME, Labels

MAX_PATTERN = 1000
"""Characters of a regular expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One condition on a label; one that is missing counts as empty."""

    name: str
    op: Literal["=", "!=", "=~", "!~"]
    value: str

    def matches(self, value: str) -> bool:
        """Whether one value fulfils it."""
        if self.op in ("=", "!="):
            return (value == self.value) == (self.op == "=")
        return _is_match(self.value, value) == (self.op == "=~")


def matching(found: Sequence[Labels], matchers: Sequence[Matcher]) -> list[bool]:
    """Which of `found` fulfil all conditions."""
    return [all(matcher.matches(_value(labels, matcher.name)) for matcher in matchers) for labels in found]


def name_of(matchers: Sequence[Matcher]) -> str | None:
    """The metric's name, where they say it."""
    return next((matcher.value for matcher in matchers if matcher.name == NAME and matcher.op == "="), None)


def anchored(pattern: str) -> str:
    """The pattern as Prometheus means it: for the whole value, where a dot is any character.

    Raises:
        QueryError: it is too long.
    """
    if len(pattern) > MAX_PATTERN:
        raise QueryError("bad_data", f"a regular expression must have at most {MAX_PATTERN} characters")
    return f"^(?s:{pattern})$"


def matches(pattern: str, values: Sequence[str]) -> list[bool]:
    """Which of `values` the pattern fits as a whole.

    Raises:
        QueryError: it is no regular expression, or too large a one.
    """
    try:
        fits = pc.match_substring_regex(pa.array(values, pa.string()), anchored(pattern)).to_pylist()
    except pa.ArrowInvalid as error:
        raise QueryError("bad_data", f"error parsing regexp: {error}") from None
    return [bool(fit) for fit in fits]


@lru_cache(maxsize=20_000)
def _is_match(pattern: str, value: str) -> bool:
    return matches(pattern, [value])[0]


def _value(labels: Labels, name: str) -> str:
    return next((value for key, value in labels if key == name), "")
