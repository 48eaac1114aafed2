"""Why something could not be told."""


class RefusedForGoodError(Exception):
    """The other end will not take this, however often it is sent."""


class NotNowError(Exception):
    """The other end may take it later; `retry_after_s` if it said when."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
