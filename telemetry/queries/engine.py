"""A query's text to its answer."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import promql_parser as ast

from telemetry.queries.errors import QueryError
from telemetry.queries.evaluate import Evaluation
from telemetry.queries.limits import Budget, Limits
from telemetry.queries.parsing import parsed
from telemetry.queries.source import Source
from telemetry.queries.vectors import Ints, Scalar, Series, Vector


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a query is worth, and when."""

    kind: Literal["vector", "matrix", "scalar", "string"]
    steps_ms: Ints
    value: Vector | Scalar | str | list[Series]


class Engine:
    """Answers from one source; may be called from several threads."""

    def __init__(self, source: Source, limits: Limits | None = None) -> None:
        self.source = source
        self.limits = limits or Limits()

    def instant(self, query: str, time_ms: int, timeout_s: float = np.inf) -> Answer:
        """The answer at one time.

        Raises:
            QueryError: there is none.
        """
        steps_ms = np.array([time_ms], np.int64)
        tree, evaluation = self._begun(query, steps_ms, timeout_s)
        if isinstance(tree, ast.MatrixSelector):
            return Answer(kind="matrix", steps_ms=steps_ms, value=evaluation.ranged(tree, time_ms))
        value = self._value(evaluation, tree, steps_ms)
        if isinstance(value, Vector):
            return Answer(kind="vector", steps_ms=steps_ms, value=value)
        return Answer(kind="string" if isinstance(value, str) else "scalar", steps_ms=steps_ms, value=value)

    def ranged(self, query: str, start_ms: int, end_ms: int, step_ms: int, timeout_s: float = np.inf) -> Answer:
        """The answer at each step from `start_ms` to `end_ms`.

        Raises:
            QueryError: there is none.
        """
        if step_ms <= 0:
            raise QueryError(
                "bad_data",
                'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
                "Try a positive integer",
            )
        if end_ms < start_ms:
            raise QueryError("bad_data", 'invalid parameter "end": end timestamp must not be before start time')
        num = (end_ms - start_ms) // step_ms + 1
        if num > self.limits.max_steps:
            raise QueryError(
                "bad_data",
                f"exceeded maximum resolution of {self.limits.max_steps:,} points per timeseries. "
                "Try decreasing the query resolution (?step=XX)",
            )
        steps_ms = start_ms + step_ms * np.arange(num, dtype=np.int64)
        tree, evaluation = self._begun(query, steps_ms, timeout_s)
        value = self._value(evaluation, tree, steps_ms)
        if isinstance(value, str):
            raise QueryError(
                "bad_data",
                'invalid parameter "query": invalid expression type "string" for range query, must be Scalar or '
                "instant Vector",
            )
        return Answer(kind="matrix", steps_ms=steps_ms, value=value)

    def _begun(self, query: str, steps_ms: Ints, timeout_s: float) -> tuple[ast.Expr, Evaluation]:
        tree = parsed(query, self.limits)
        budget = Budget(limits=self.limits, timeout_s=timeout_s)
        return tree, Evaluation(self.source, budget, steps_ms)

    def _value(self, evaluation: Evaluation, tree: ast.Expr, steps_ms: Ints) -> Vector | Scalar | str:
        try:
            return evaluation.value(tree, steps_ms)
        except RecursionError:
            raise QueryError("bad_data", 'invalid parameter "query": it is nested too deeply') from None
