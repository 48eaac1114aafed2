"""What is wrong with a query, in the kinds that Prometheus' API names."""

from typing import Literal

ErrorType = Literal["bad_data", "execution", "timeout", "unavailable"]


class QueryError(Exception):
    """A query that cannot be answered.

    `bad_data` is the asker's mistake, `execution` what cannot be computed or is too much, `timeout` what takes too
    long, `unavailable` that too many ask at once.
    """

    def __init__(self, kind: ErrorType, message: str) -> None:
        super().__init__(message)
        self.kind = kind
