"""What a PromQL expression is worth at each step.

    tree -> value(node, steps): Scalar | Vector | str
              selectors -> Source -> Windows -> rates, over_time
              the rest: numpy over all steps at once

The semantics are Prometheus 2's (https://prometheus.io/docs/prometheus/2.53/querying/basics/).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import promql_parser as ast

from telemetry.queries import aggregations, binary, functions, label_functions
from telemetry.queries.errors import QueryError
from telemetry.queries.histograms import histogram_quantile
from telemetry.queries.labels import NAME, Labels, labels_of, nameless
from telemetry.queries.limits import Budget
from telemetry.queries.matching import Matcher
from telemetry.queries.over_time import KEEPS_NAME, OVER_TIME, quantile
from telemetry.queries.parsing import duration_ms, fixed_ms, matchers_of
from telemetry.queries.rates import RATES, predict_linear
from telemetry.queries.source import Source
from telemetry.queries.vectors import Bools, Ints, Scalar, Series, Value, Vector
from telemetry.queries.windows import Windows

LOOKBACK_MS = 300_000
"""How old a sample may be and still stand for a series."""
SUBQUERY_STEP_MS = 60_000
"""Of a subquery that names none."""


class Evaluation:
    """One query: its source, its limits, and the range that `start()` and `end()` mean."""

    def __init__(self, source: Source, budget: Budget, steps_ms: Ints) -> None:
        self._source = source
        self._budget = budget
        self._start_ms, self._end_ms = int(steps_ms[0]), int(steps_ms[-1])

    def value(self, node: ast.Expr, steps_ms: Ints) -> Value:
        """What `node` is worth.

        Raises:
            QueryError: it cannot be computed, or is too much.
        """
        self._budget.check_time()
        match node:
            case ast.ParenExpr():
                return self.value(node.expr, steps_ms)
            case ast.NumberLiteral():
                return np.full(len(steps_ms), node.val)
            case ast.StringLiteral():
                return node.val
            case ast.VectorSelector():
                return self._instant(node, steps_ms)
            case ast.UnaryExpr():
                value = self.value(node.expr, steps_ms)
                return value.with_values(-value.values) if isinstance(value, Vector) else -_scalar(value)
            case ast.BinaryExpr():
                return self._binary(node, steps_ms)
            case ast.AggregateExpr():
                return self._aggregated(node, steps_ms)
            case ast.Call():
                return self._called(node, steps_ms)
        raise _unsupported(f"a {type(node).__name__} here")

    def ranged(self, node: ast.MatrixSelector, time_ms: int) -> list[Series]:
        """The samples of a range selector at one time, as they are."""
        series, windows = self._windows(node, np.array([time_ms]))
        return [
            Series(labels=each.labels, times_ms=each.times_ms[low:high], values=each.values[low:high])
            for each, window in zip(series, windows, strict=True)
            for low, high in [(int(window.low[0]), int(window.high[0]))]
            if high > low
        ]

    def _instant(self, node: ast.VectorSelector, steps_ms: Ints) -> Vector:
        """The latest sample of each series, if it is not too old."""
        vector, _ = self._latest(node, steps_ms)
        return vector

    def _latest(self, node: ast.VectorSelector, steps_ms: Ints) -> tuple[Vector, Ints]:
        at_ms = self._times(node, steps_ms)
        found = self._selected(matchers_of(node), int(at_ms.min()) - LOOKBACK_MS, int(at_ms.max()))
        windows = [Windows.of(series, at_ms, LOOKBACK_MS) for series in found]
        vector = Vector.stacked(
            [series.labels for series in found],
            [window.series.values[window.last] for window in windows],
            [window.at_least(1) for window in windows],
            len(steps_ms),
        )
        times_ms = np.array([window.series.times_ms[window.last] for window in windows], np.int64)
        return vector, times_ms.reshape(vector.values.shape)

    def _selected(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        found = [series for series in self._source.select(matchers, start_ms, end_ms) if len(series.values)]
        self._budget.check_series(len(found))
        self._budget.take_samples(sum(len(series.values) for series in found))
        return found

    def _windows(self, node: ast.Expr, steps_ms: Ints) -> tuple[list[Series], list[Windows]]:
        """The windows of each series that a range selector or a subquery means."""
        if isinstance(node, ast.ParenExpr):
            return self._windows(node.expr, steps_ms)
        if isinstance(node, ast.MatrixSelector):
            selector = node.vector_selector
            at_ms, range_ms = self._times(selector, steps_ms), duration_ms(node, "range") or 0
            found = self._selected(matchers_of(selector), int(at_ms.min()) - range_ms, int(at_ms.max()))
        elif isinstance(node, ast.SubqueryExpr):
            at_ms, range_ms = self._times(node, steps_ms), duration_ms(node, "range") or 0
            found = self._subquery(node, int(at_ms.min()) - range_ms, int(at_ms.max()))
        else:
            raise _unsupported(f"a range of a {type(node).__name__}")
        windows = [Windows.of(series, at_ms, range_ms) for series in found]
        for window in windows:
            self._budget.take_samples(int(window.nums.sum()))
        return found, windows

    def _subquery(self, node: ast.SubqueryExpr, start_ms: int, end_ms: int) -> list[Series]:
        """An expression at times that are multiples of the subquery's step, as if it were recorded."""
        step_ms = duration_ms(node, "step") or SUBQUERY_STEP_MS
        first = -(-start_ms // step_ms) * step_ms
        num = (end_ms - first) // step_ms + 1
        if num < 1:
            return []
        self._budget.take_samples(num)
        times_ms = first + step_ms * np.arange(num, dtype=np.int64)
        value = self.value(node.expr, times_ms)
        if not isinstance(value, Vector):
            return [Series(labels=(), times_ms=times_ms, values=_scalar(value))]
        self._budget.take_samples(value.present.size)
        return [
            Series(labels=labels, times_ms=times_ms[present], values=values[present])
            for labels, values, present in zip(value.labels, value.values, value.present, strict=True)
            if present.any()
        ]

    def _times(self, node: ast.VectorSelector | ast.SubqueryExpr, steps_ms: Ints) -> Ints:
        """When a selector looks, at each step."""
        times_ms = steps_ms
        if node.at is not None:
            times_ms = np.full_like(steps_ms, fixed_ms(node.at, self._start_ms, self._end_ms))
        return times_ms - (duration_ms(node, "offset") or 0)

    def _binary(self, node: ast.BinaryExpr, steps_ms: Ints) -> Value:
        op, modifier = str(node.op), node.modifier
        left, right = self.value(node.lhs, steps_ms), self.value(node.rhs, steps_ms)
        is_bool = bool(modifier and modifier.return_bool)
        if isinstance(left, str) or isinstance(right, str):
            raise _unsupported(f"{op} between strings")
        if not isinstance(left, Vector) and not isinstance(right, Vector):
            return binary.scalars(op, left, right)
        if not isinstance(right, Vector):
            assert isinstance(left, Vector)
            return binary.vector_and_scalar(op, left, right, is_swapped=False, is_bool=is_bool)
        if not isinstance(left, Vector):
            return binary.vector_and_scalar(op, right, left, is_swapped=True, is_bool=is_bool)
        matching = _matching(modifier)
        if op in binary.SETS:
            return binary.sets(op, left, right, matching)
        if op not in binary.ARITHMETIC and op not in binary.COMPARISONS:
            raise _unsupported(f'operator "{op}"')
        return binary.vectors(op, left, right, matching, is_bool=is_bool, budget=self._budget)

    def _aggregated(self, node: ast.AggregateExpr, steps_ms: Ints) -> Vector:
        op, modifier = str(node.op), node.modifier
        vector = self._vector(node.expr, steps_ms)
        is_by = modifier is None or bool(modifier.type == ast.AggModifierType.By)
        names = list(modifier.labels) if modifier else []
        if op in aggregations.STATISTICS:
            return aggregations.aggregated(op, vector, names, is_by=is_by)
        parameter = self.value(node.param, steps_ms) if node.param is not None else ""
        match op:
            case "topk" | "bottomk":
                k = _scalar(parameter)
                return aggregations.most(vector, k, names, is_by=is_by, largest=op == "topk")
            case "quantile":
                return aggregations.quantile(vector, _scalar(parameter), names, is_by=is_by)
            case "count_values":
                return aggregations.count_values(vector, str(parameter), names, is_by=is_by)
        raise _unsupported(f'aggregation "{op}"')

    def _called(self, node: ast.Call, steps_ms: Ints) -> Value:
        name, arguments = node.func.name, node.args
        if name in OVER_TIME or name in RATES:
            return self._over(name, arguments[0], steps_ms)
        if name in functions.ELEMENTWISE:
            vector = self._vector(arguments[0], steps_ms)
            with np.errstate(all="ignore"):
                return vector.with_values(np.asarray(functions.ELEMENTWISE[name](vector.values), np.float64))
        if name in functions.OF_TIME:
            vector = self._vector(arguments[0], steps_ms) if arguments else _one(steps_ms / 1e3)
            return vector.with_values(functions.OF_TIME[name](vector.values))
        call = _CALLS.get(name)
        if call is None:
            raise _unsupported(f'function "{name}"')
        return call(self, arguments, steps_ms)

    def _over(self, name: str, node: ast.Expr, steps_ms: Ints) -> Vector:
        function = OVER_TIME.get(name) or RATES[name]
        series, windows = self._windows(node, steps_ms)
        rows = []
        for window in windows:
            self._budget.check_time()
            rows.append(function(window))
        labels = [each.labels if name in KEEPS_NAME else nameless(each.labels) for each in series]
        return _of_ranges(labels, rows, len(steps_ms))

    def _quantile_over_time(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        q = _scalar(self.value(arguments[0], steps_ms))
        series, windows = self._windows(arguments[1], steps_ms)
        rows = [quantile(window, q) for window in windows]
        return _of_ranges([nameless(each.labels) for each in series], rows, len(steps_ms))

    def _predict_linear(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        series, windows = self._windows(arguments[0], steps_ms)
        ahead_s = _scalar(self.value(arguments[1], steps_ms))
        rows = [predict_linear(window, ahead_s, steps_ms.astype(np.float64)) for window in windows]
        return _of_ranges([nameless(each.labels) for each in series], rows, len(steps_ms))

    def _histogram_quantile(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        q = _scalar(self.value(arguments[0], steps_ms))
        return histogram_quantile(q, self._vector(arguments[1], steps_ms))

    def _clamp(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        vector = self._vector(arguments[0], steps_ms)
        low, high = (_scalar(self.value(each, steps_ms)) for each in arguments[1:3])
        clamped = vector.with_values(functions.clamped(vector.values, low, high))
        return Vector(labels=clamped.labels, values=clamped.values, present=clamped.present & ~(low > high))

    def _clamp_min(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        vector, limit = self._vector(arguments[0], steps_ms), _scalar(self.value(arguments[1], steps_ms))
        return vector.with_values(np.maximum(vector.values, limit))

    def _clamp_max(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        vector, limit = self._vector(arguments[0], steps_ms), _scalar(self.value(arguments[1], steps_ms))
        return vector.with_values(np.minimum(vector.values, limit))

    def _round(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        vector = self._vector(arguments[0], steps_ms)
        nearest = _scalar(self.value(arguments[1], steps_ms)) if len(arguments) > 1 else np.ones(len(steps_ms))
        return vector.with_values(functions.rounded(vector.values, nearest))

    def _label_replace(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        target, replacement, source, pattern = (str(self.value(each, steps_ms)) for each in arguments[1:5])
        vector = self._vector(arguments[0], steps_ms)
        return label_functions.label_replace(vector, target, replacement, source, pattern)

    def _label_join(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        target, separator, *sources = (str(self.value(each, steps_ms)) for each in arguments[1:])
        return label_functions.label_join(self._vector(arguments[0], steps_ms), target, separator, sources)

    def _absent(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        present = self._vector(arguments[0], steps_ms).present
        return _absence(arguments[0], np.asarray(present.any(axis=0)))

    def _absent_over_time(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        _, windows = self._windows(arguments[0], steps_ms)
        present = np.array([window.at_least(1) for window in windows], np.bool_).reshape(-1, len(steps_ms))
        selector = arguments[0].vector_selector if isinstance(arguments[0], ast.MatrixSelector) else arguments[0]
        return _absence(selector, np.asarray(present.any(axis=0)))

    def _as_scalar(self, arguments: list[ast.Expr], steps_ms: Ints) -> Scalar:
        vector = self._vector(arguments[0], steps_ms)
        values = np.where(vector.present, vector.values, 0.0).sum(axis=0)
        return np.where(vector.present.sum(axis=0) == 1, values, np.nan)

    def _as_vector(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        return _one(_scalar(self.value(arguments[0], steps_ms)))

    def _timestamp(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        node = arguments[0]
        while isinstance(node, ast.ParenExpr):
            node = node.expr
        if isinstance(node, ast.VectorSelector):
            vector, times_ms = self._latest(node, steps_ms)
            return vector.with_values(times_ms / 1e3)
        vector = self._vector(node, steps_ms)
        return vector.with_values(np.broadcast_to(steps_ms / 1e3, vector.values.shape))

    def _sorted(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        return self._in_order(arguments[0], steps_ms, 1.0)

    def _sorted_down(self, arguments: list[ast.Expr], steps_ms: Ints) -> Vector:
        return self._in_order(arguments[0], steps_ms, -1.0)

    def _in_order(self, node: ast.Expr, steps_ms: Ints, sign: float) -> Vector:
        """In the order of the values at the last step, which is the only one where the order is seen."""
        vector = self._vector(node, steps_ms)
        return vector.rows(np.argsort(sign * vector.values[:, -1], kind="stable"))

    def _vector(self, node: ast.Expr, steps_ms: Ints) -> Vector:
        value = self.value(node, steps_ms)
        if not isinstance(value, Vector):
            raise _unsupported("a number where a vector is wanted")
        return value


_CALLS: dict[str, Callable[[Evaluation, list[Any], Ints], Value]] = {
    "quantile_over_time": Evaluation._quantile_over_time,
    "predict_linear": Evaluation._predict_linear,
    "histogram_quantile": Evaluation._histogram_quantile,
    "clamp": Evaluation._clamp,
    "clamp_min": Evaluation._clamp_min,
    "clamp_max": Evaluation._clamp_max,
    "round": Evaluation._round,
    "label_replace": Evaluation._label_replace,
    "label_join": Evaluation._label_join,
    "absent": Evaluation._absent,
    "absent_over_time": Evaluation._absent_over_time,
    "scalar": Evaluation._as_scalar,
    "vector": Evaluation._as_vector,
    "timestamp": Evaluation._timestamp,
    "sort": Evaluation._sorted,
    "sort_desc": Evaluation._sorted_down,
    "time": lambda _evaluation, _arguments, steps_ms: steps_ms / 1e3,
    "pi": lambda _evaluation, _arguments, steps_ms: np.full(len(steps_ms), np.pi),
}


def _of_ranges(labels: list[Labels], rows: Sequence[tuple[object, object]], num_steps: int) -> Vector:
    return Vector.stacked(labels, [row[0] for row in rows], [row[1] for row in rows], num_steps).merged()


def _absence(node: ast.Expr, is_there: Bools) -> Vector:
    """One element where there is nothing, with the labels that were asked for."""
    while isinstance(node, ast.ParenExpr):
        node = node.expr
    matchers = matchers_of(node) if isinstance(node, ast.VectorSelector) else []
    named = [matcher.name for matcher in matchers]
    wanted = [(each.name, each.value) for each in matchers if each.op == "=" and named.count(each.name) == 1]
    labels = labels_of(pair for pair in wanted if pair[0] != NAME)
    return Vector.stacked([labels], [np.ones(len(is_there))], [~is_there], len(is_there))


def _matching(modifier: ast.BinModifier | None) -> binary.Matching:
    if modifier is None:
        return binary.Matching()
    if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
        raise _unsupported('modifier "fill"')
    many = "none"
    if modifier.card == ast.VectorMatchCardinality.ManyToOne:
        many = "left"
    elif modifier.card == ast.VectorMatchCardinality.OneToMany:
        many = "right"
    on = modifier.matching
    return binary.Matching(
        labels=tuple(on.labels) if on else (),
        is_on=bool(on and on.type == ast.LabelModifierType.Include),
        many=many,
        include=tuple(modifier.group_labels or ()),
    )


def _one(values: Scalar) -> Vector:
    return Vector(labels=[()], values=values[None, :].astype(np.float64), present=np.ones((1, len(values)), np.bool_))


def _scalar(value: Value) -> Scalar:
    if isinstance(value, Vector | str):
        raise _unsupported("a vector or string where a number is wanted")
    return value


def _unsupported(what: str) -> QueryError:
    return QueryError("bad_data", f'invalid parameter "query": {what} is not supported')
