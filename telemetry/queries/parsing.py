"""PromQL as a tree; what is too long or too deeply nested never reaches the parser."""

import promql_parser as ast

from telemetry.queries.errors import QueryError
from telemetry.queries.limits import Limits
from telemetry.queries.matching import Matcher

MAX_DAYS = 36_500
MAX_TIME_S = 1e11
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
        tree = ast.parse(query)
    except ValueError as error:
        raise QueryError("bad_data", f'invalid parameter "query": parse error: {error}') from None
    ast.walk(tree, _check_times)
    return tree


def _check_times(node: ast.Expr) -> None:
    """Refuse what the parser takes but no date or duration can hold."""
    try:
        durations = [getattr(node, name, None) for name in ("offset", "range", "step")]
        at = getattr(node, "at", None)
        is_far = at is not None and at.at is not None and abs(at.at.timestamp()) > MAX_TIME_S
    except (ValueError, OverflowError):
        is_far, durations = True, []
    if is_far or any(abs(each.days) > MAX_DAYS for each in durations if each is not None):
        raise QueryError("bad_data", 'invalid parameter "query": times and durations must lie within a hundred years')


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


def selector_of(text: str, limits: Limits) -> list[Matcher]:
    """The conditions of a selector, such as `match[]` holds.

    Raises:
        QueryError: it is something else.
    """
    tree = parsed(text, limits)
    if not isinstance(tree, ast.VectorSelector):
        raise QueryError("bad_data", f'invalid parameter "match[]": it must be a series selector, got {text[:100]!r}')
    return matchers_of(tree)
