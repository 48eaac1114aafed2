"""What can go wrong with a request.

    request -> Gate.check (401, 403, 429), or without keys access.origin (403)
            -> asgi.read_body (413) -> requests.decode, infer_message.decode (400)
            -> Batcher.submit (429, 503, 504) -> Session.run (500) -> response

`RequestError`s are the caller's to mend and say how; anything else is ours, is logged, and reaches the caller as a
500 without its insides.
"""

import math
from reprlib import Repr
from typing import Any

_brief = Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 80


def brief(value: Any) -> str:
    """What was got, for a message: in Python's form, and short however much it was."""
    return _brief.repr(value)


def failed(model: str) -> str:
    """What a client is told of an error that is ours: nothing of our insides."""
    return f"model {model!r} failed on this request; the server's log says why"


class RequestError(Exception):
    """The request cannot be answered as it is; `status` is the HTTP status that says so."""

    status = 400


class UnauthorizedError(RequestError):
    """It carries no valid key."""

    status = 401


class ForbiddenError(RequestError):
    """Its key is valid, but not for this."""

    status = 403


class NotFoundError(RequestError):
    """No such model, version or path."""

    status = 404


class MethodNotAllowedError(RequestError):
    """The path exists, the method does not."""

    status = 405


class ConflictError(RequestError):
    """It does not fit what is going on."""

    status = 409


class BodyTooLargeError(RequestError):
    """The body is over the limit."""

    status = 413


class RateLimitedError(RequestError):
    """Its key was used more often than it may."""

    status = 429

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(RequestError):
    """The model is shutting down or not loaded."""

    status = 503


class DeadlineError(RequestError):
    """The time the client gave is up."""

    status = 504


class OverloadedError(RequestError):
    """More requests wait than may."""

    status = 429

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, math.ceil(retry_after_s))

    @property
    def retry_after(self) -> tuple[bytes, bytes]:
        """The header that says when to try again, in whole seconds."""
        return b"retry-after", str(self.retry_after_s).encode()


class SettingsError(Exception):
    """`serve_config.yaml` names something that cannot be served."""


class CallError(Exception):
    """A server did not do what the command line asked of it; `status` is its answer's, if there was one."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class InputError(Exception):
    """A file on the command line is not what the model takes."""


class ScoringError(Exception):
    """Offline scoring cannot begin, or must end: an input, an output folder or a setting is to be mended."""
