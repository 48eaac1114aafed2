"""What a PromQL expression is worth at each step.

    tree -> value(node, steps): Scalar | Vector | str
              selectors -> Source -> Windows -> rates, over_time
              the rest: numpy over all steps at once

The semantics are Prometheus 2's (https://prometheus.io/docs/prometheus/2.53/querying/basics/).
"""

from collections.abc import Sequence

import numpy as np
import promql_parser as ast

from telemetry.queries import aggregations, binary, functions
from telemetry.queries.calls import CALLS, of_ranges, one_of, scalar_of, unsupported
from telemetry.queries.labels import nameless
from telemetry.queries.limits import Budget
from telemetry.queries.matching import Matcher
from telemetry.queries.over_time import KEEPS_NAME, OVER_TIME
from telemetry.queries.parsing import duration_ms, fixed_ms, matchers_of
from telemetry.queries.rates import RATES
from telemetry.queries.source import Source
from telemetry.queries.vectors import Ints, Series, Value, Vector
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
                return value.with_values(-value.values) if isinstance(value, Vector) else -scalar_of(value)
            case ast.BinaryExpr():
                return self._binary(node, steps_ms)
            case ast.AggregateExpr():
                return self._aggregated(node, steps_ms)
            case ast.Call():
                return self._called(node, steps_ms)
        raise unsupported(f"a {type(node).__name__} here")

    def ranged(self, node: ast.MatrixSelector, time_ms: int) -> list[Series]:
        """The samples of a range selector at one time, as they are."""
        series, windows = self.windows(node, np.array([time_ms]))
        return [
            Series(labels=each.labels, times_ms=each.times_ms[low:high], values=each.values[low:high])
            for each, window in zip(series, windows, strict=True)
            for low, high in [(int(window.low[0]), int(window.high[0]))]
            if high > low
        ]

    def _instant(self, node: ast.VectorSelector, steps_ms: Ints) -> Vector:
        """The latest sample of each series, if it is not too old."""
        vector, _ = self.latest(node, steps_ms)
        return vector

    def latest(self, node: ast.VectorSelector, steps_ms: Ints) -> tuple[Vector, Ints]:
        """The latest sample of each series at each step, if it is not too old, and when it was."""
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

    def windows(self, node: ast.Expr, steps_ms: Ints) -> tuple[list[Series], list[Windows]]:
        """The windows of each series that a range selector or a subquery means."""
        if isinstance(node, ast.ParenExpr):
            return self.windows(node.expr, steps_ms)
        if isinstance(node, ast.MatrixSelector):
            selector = node.vector_selector
            at_ms, range_ms = self._times(selector, steps_ms), duration_ms(node, "range") or 0
            found = self._selected(matchers_of(selector), int(at_ms.min()) - range_ms, int(at_ms.max()))
        elif isinstance(node, ast.SubqueryExpr):
            at_ms, range_ms = self._times(node, steps_ms), duration_ms(node, "range") or 0
            found = self._subquery(node, int(at_ms.min()) - range_ms, int(at_ms.max()))
        else:
            raise unsupported(f"a range of a {type(node).__name__}")
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
            return [Series(labels=(), times_ms=times_ms, values=scalar_of(value))]
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
            raise unsupported(f"{op} between strings")
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
            raise unsupported(f'operator "{op}"')
        return binary.vectors(op, left, right, matching, is_bool=is_bool, budget=self._budget)

    def _aggregated(self, node: ast.AggregateExpr, steps_ms: Ints) -> Vector:
        op, modifier = str(node.op), node.modifier
        vector = self.vector(node.expr, steps_ms)
        is_by = modifier is None or bool(modifier.type == ast.AggModifierType.By)
        names = list(modifier.labels) if modifier else []
        if op in aggregations.STATISTICS:
            return aggregations.aggregated(op, vector, names, is_by=is_by)
        parameter = self.value(node.param, steps_ms) if node.param is not None else ""
        match op:
            case "topk" | "bottomk":
                k = scalar_of(parameter)
                return aggregations.most(vector, k, names, is_by=is_by, largest=op == "topk")
            case "quantile":
                return aggregations.quantile(vector, scalar_of(parameter), names, is_by=is_by)
            case "count_values":
                return aggregations.count_values(vector, str(parameter), names, is_by=is_by)
        raise unsupported(f'aggregation "{op}"')

    def _called(self, node: ast.Call, steps_ms: Ints) -> Value:
        name, arguments = node.func.name, node.args
        if name in OVER_TIME or name in RATES:
            return self._over(name, arguments[0], steps_ms)
        if name in functions.ELEMENTWISE:
            vector = self.vector(arguments[0], steps_ms)
            with np.errstate(all="ignore"):
                return vector.with_values(np.asarray(functions.ELEMENTWISE[name](vector.values), np.float64))
        if name in functions.OF_TIME:
            vector = self.vector(arguments[0], steps_ms) if arguments else one_of(steps_ms / 1e3)
            return vector.with_values(functions.OF_TIME[name](vector.values))
        call = CALLS.get(name)
        if call is None:
            raise unsupported(f'function "{name}"')
        return call(self, arguments, steps_ms)

    def _over(self, name: str, node: ast.Expr, steps_ms: Ints) -> Vector:
        function = OVER_TIME.get(name) or RATES[name]
        series, windows = self.windows(node, steps_ms)
        rows = []
        for window in windows:
            self._budget.check_time()
            rows.append(function(window))
        labels = [each.labels if name in KEEPS_NAME else nameless(each.labels) for each in series]
        return of_ranges(labels, rows, len(steps_ms))

    def vector(self, node: ast.Expr, steps_ms: Ints) -> Vector:
        """What `node` is worth, which must be a vector."""
        value = self.value(node, steps_ms)
        if not isinstance(value, Vector):
            raise unsupported("a number where a vector is wanted")
        return value


def _matching(modifier: ast.BinModifier | None) -> binary.Matching:
    if modifier is None:
        return binary.Matching()
    if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
        raise unsupported('modifier "fill"')
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
