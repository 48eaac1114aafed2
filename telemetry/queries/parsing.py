"""PromQL as a tree; what is too long or too deeply nested never reaches the parser."""

from datetime import timedelta

import promql_parser as ast

from telemetry.queries.errors import QueryError
from telemetry.queries.limits import Limits
from telemetry.queries.matching import Matcher

MAX_DAYS = 36_500
_NESTING = frozenset("([{+-*/%^=<>,")
_OPS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


def parsed(query: str, limits: Limits) -> ast.Expr:
    """The tree of a query.

    Raises:
        QueryError: it is none, or too much of one.
    """
    if len(query) > limits.max_query:
        raise QueryError("bad_data", f'invalid parameter "query": it must have at most {limits.max_query} characters')
    if sum(character in _NESTING for character in query) > limits.max_nesting:
        raise QueryError(
            "bad_data", f'invalid parameter "query": it must have at most {limits.max_nesting} brackets and operators'
        )
    try:
        return ast.parse(query)
    except ValueError as error:
        raise QueryError("bad_data", f'invalid parameter "query": parse error: {error}') from None


def duration_ms(node: ast.MatrixSelector | ast.SubqueryExpr | ast.VectorSelector, name: str) -> int | None:
    """The `range`, `step` or `offset` of a node, None where it has none.

    Raises:
        QueryError: it is of more than a hundred years.
    """
    try:
        duration: timedelta | None = getattr(node, name)
        if duration is None:
            return None
        if abs(duration.days) <= MAX_DAYS:
            return round(duration.total_seconds() * 1e3)
    except (ValueError, OverflowError):  # the parser takes what no timedelta can hold
        pass
    raise QueryError("bad_data", 'invalid parameter "query": a duration must be of at most a hundred years')


def fixed_ms(at: ast.AtModifier, start_ms: int, end_ms: int) -> int:
    """The time after `@`, in a query from `start_ms` to `end_ms`.

    Raises:
        QueryError: no date can hold it.
    """
    if at.type == ast.AtModifierType.Start:
        return start_ms
    if at.type == ast.AtModifierType.End:
        return end_ms
    try:
        assert at.at is not None
        return round(at.at.timestamp() * 1e3)
    except (ValueError, OverflowError):
        raise QueryError("bad_data", 'invalid parameter "query": the time after "@" is out of range') from None


def matchers_of(selector: ast.VectorSelector) -> list[Matcher]:
    """Its conditions, the metric's name among them."""
    if selector.matchers.or_matchers:
        raise QueryError("bad_data", 'invalid parameter "query": "or" between label matchers is not supported')
    named = [Matcher(name="__name__", op="=", value=selector.name)] if selector.name else []
    found = [
        Matcher(name=each.name, op=_OPS[str(each.op)], value=each.value)  # type: ignore[arg-type]  # by its own text
        for each in selector.matchers.matchers
    ]
    return named + found


def selectors_of(query: str, limits: Limits) -> list[list[Matcher]]:
    """The conditions of each selector in a query.

    Raises:
        QueryError: it is none, or too much of one.
    """
    found, left = [], [parsed(query, limits)]
    while left:
        node = left.pop()
        if isinstance(node, ast.VectorSelector):
            found.append(matchers_of(node))
        for name in ("vector_selector", "expr", "lhs", "rhs", "param"):
            child = getattr(node, name, None)
            if isinstance(child, ast.Expr):
                left.append(child)
        if isinstance(node, ast.Call):
            left += node.args
    return found


def selector_of(text: str, limits: Limits) -> list[Matcher]:
    """The conditions of a selector, such as `match[]` holds.

    Raises:
        QueryError: it is something else.
    """
    tree = parsed(text, limits)
    if not isinstance(tree, ast.VectorSelector):
        raise QueryError("bad_data", f'invalid parameter "match[]": it must be a series selector, got {text[:100]!r}')
    return matchers_of(tree)
