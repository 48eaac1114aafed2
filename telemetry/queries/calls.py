"""Functions of PromQL whose arguments are looked at one by one."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import promql_parser as ast

from telemetry.queries import functions, label_functions
from telemetry.queries.errors import QueryError
from telemetry.queries.histograms import histogram_quantile
from telemetry.queries.labels import NAME, Labels, labels_of, nameless
from telemetry.queries.over_time import quantile
from telemetry.queries.parsing import matchers_of
from telemetry.queries.rates import predict_linear
from telemetry.queries.vectors import Bools, Ints, Scalar, Series, Value, Vector
from telemetry.queries.windows import Windows


class Evaluating(Protocol):
    """What their arguments are worth."""

    def value(self, node: ast.Expr, steps_ms: Ints) -> Value:
        """Of any expression."""
        ...

    def vector(self, node: ast.Expr, steps_ms: Ints) -> Vector:
        """Of one that must be a vector."""
        ...

    def windows(self, node: ast.Expr, steps_ms: Ints) -> tuple[list[Series], list[Windows]]:
        """The windows of each series that a range means."""
        ...

    def latest(self, node: ast.VectorSelector, steps_ms: Ints) -> tuple[Vector, Ints]:
        """The latest sample of each series at each step, and when it was."""
        ...


def of_ranges(labels: list[Labels], rows: Sequence[tuple[object, object]], num_steps: int) -> Vector:
    """What was found of the windows of each series; those whose labels have become the same are one."""
    return Vector.stacked(labels, [row[0] for row in rows], [row[1] for row in rows], num_steps).merged()


def scalar_of(value: Value) -> Scalar:
    """A number at each step.

    Raises:
        QueryError: it is something else.
    """
    if isinstance(value, Vector | str):
        raise unsupported("a vector or string where a number is wanted")
    return value


def unsupported(what: str) -> QueryError:
    """The answer to what is not understood."""
    return QueryError("bad_data", f'invalid parameter "query": {what} is not supported')


def _quantile_over_time(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    q = scalar_of(evaluation.value(arguments[0], steps_ms))
    series, windows = evaluation.windows(arguments[1], steps_ms)
    rows = [quantile(window, q) for window in windows]
    return of_ranges([nameless(each.labels) for each in series], rows, len(steps_ms))


def _predict_linear(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    series, windows = evaluation.windows(arguments[0], steps_ms)
    ahead_s = scalar_of(evaluation.value(arguments[1], steps_ms))
    rows = [predict_linear(window, ahead_s, steps_ms.astype(np.float64)) for window in windows]
    return of_ranges([nameless(each.labels) for each in series], rows, len(steps_ms))


def _histogram_quantile(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    q = scalar_of(evaluation.value(arguments[0], steps_ms))
    return histogram_quantile(q, evaluation.vector(arguments[1], steps_ms))


def _clamp(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    vector = evaluation.vector(arguments[0], steps_ms)
    low, high = (scalar_of(evaluation.value(each, steps_ms)) for each in arguments[1:3])
    clamped = vector.with_values(functions.clamped(vector.values, low, high))
    return Vector(labels=clamped.labels, values=clamped.values, present=clamped.present & ~(low > high))


def _clamp_min(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    vector, limit = evaluation.vector(arguments[0], steps_ms), scalar_of(evaluation.value(arguments[1], steps_ms))
    return vector.with_values(np.maximum(vector.values, limit))


def _clamp_max(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    vector, limit = evaluation.vector(arguments[0], steps_ms), scalar_of(evaluation.value(arguments[1], steps_ms))
    return vector.with_values(np.minimum(vector.values, limit))


def _round(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    vector = evaluation.vector(arguments[0], steps_ms)
    nearest = scalar_of(evaluation.value(arguments[1], steps_ms)) if len(arguments) > 1 else np.ones(len(steps_ms))
    return vector.with_values(functions.rounded(vector.values, nearest))


def _label_replace(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    target, replacement, source, pattern = (str(evaluation.value(each, steps_ms)) for each in arguments[1:5])
    vector = evaluation.vector(arguments[0], steps_ms)
    return label_functions.label_replace(vector, target, replacement, source, pattern)


def _label_join(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    target, separator, *sources = (str(evaluation.value(each, steps_ms)) for each in arguments[1:])
    return label_functions.label_join(evaluation.vector(arguments[0], steps_ms), target, separator, sources)


def _absent(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    present = evaluation.vector(arguments[0], steps_ms).present
    return _absence(arguments[0], np.asarray(present.any(axis=0)))


def _absent_over_time(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    _, windows = evaluation.windows(arguments[0], steps_ms)
    present = np.array([window.at_least(1) for window in windows], np.bool_).reshape(-1, len(steps_ms))
    selector = arguments[0].vector_selector if isinstance(arguments[0], ast.MatrixSelector) else arguments[0]
    return _absence(selector, np.asarray(present.any(axis=0)))


def _as_scalar(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Scalar:
    vector = evaluation.vector(arguments[0], steps_ms)
    values = np.where(vector.present, vector.values, 0.0).sum(axis=0)
    return np.where(vector.present.sum(axis=0) == 1, values, np.nan)


def _as_vector(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    return one_of(scalar_of(evaluation.value(arguments[0], steps_ms)))


def _timestamp(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    node = arguments[0]
    while isinstance(node, ast.ParenExpr):
        node = node.expr
    if isinstance(node, ast.VectorSelector):
        vector, times_ms = evaluation.latest(node, steps_ms)
        return vector.with_values(times_ms / 1e3)
    vector = evaluation.vector(node, steps_ms)
    return vector.with_values(np.broadcast_to(steps_ms / 1e3, vector.values.shape))


def _sorted(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    return _in_order(evaluation, arguments[0], steps_ms, 1.0)


def _sorted_down(evaluation: Evaluating, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
    return _in_order(evaluation, arguments[0], steps_ms, -1.0)


def _in_order(evaluation: Evaluating, node: ast.Expr, steps_ms: Ints, sign: float) -> Vector:
    """In the order of the values at the last step, which is the only one where the order is seen."""
    vector = evaluation.vector(node, steps_ms)
    return vector.rows(np.argsort(sign * vector.values[:, -1], kind="stable"))


def _absence(node: ast.Expr, is_there: Bools) -> Vector:
    """One element where there is nothing, with the labels that were asked for."""
    while isinstance(node, ast.ParenExpr):
        node = node.expr
    matchers = matchers_of(node) if isinstance(node, ast.VectorSelector) else []
    named = [matcher.name for matcher in matchers]
    wanted = [(each.name, each.value) for each in matchers if each.op == "=" and named.count(each.name) == 1]
    labels = labels_of(pair for pair in wanted if pair[0] != NAME)
    return Vector.stacked([labels], [np.ones(len(is_there))], [~is_there], len(is_there))


def one_of(values: Scalar) -> Vector:
    """One element without labels."""
    return Vector(labels=[()], values=values[None, :].astype(np.float64), present=np.ones((1, len(values)), np.bool_))


CALLS: dict[str, Callable[[Evaluating, list[Any], Ints], Value]] = {
    "quantile_over_time": _quantile_over_time,
    "predict_linear": _predict_linear,
    "histogram_quantile": _histogram_quantile,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "round": _round,
    "label_replace": _label_replace,
    "label_join": _label_join,
    "absent": _absent,
    "absent_over_time": _absent_over_time,
    "scalar": _as_scalar,
    "vector": _as_vector,
    "timestamp": _timestamp,
    "sort": _sorted,
    "sort_desc": _sorted_down,
    "time": lambda _evaluation, _arguments, steps_ms: steps_ms / 1e3,
    "pi": lambda _evaluation, _arguments, steps_ms: np.full(len(steps_ms), np.pi),
}
