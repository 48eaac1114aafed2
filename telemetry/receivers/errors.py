"""Why a request is not taken.

the sender's fault, not to be sent again:  Malformed 400 | Unauthorized 401 | TooLarge 413 | Unsupported 415
ours, to be sent again later:              Busy 429 | Unavailable 503, with a delay
"""

from http import HTTPStatus

import grpc
from google.rpc import code_pb2  # type: ignore[import-untyped]  # no stubs

RETRY_S = 5
"""After so long a sender is asked to try again what could not be taken now."""


class RequestError(Exception):
    """A request as a whole cannot be taken; the message says why, for the sender."""

    http = HTTPStatus.BAD_REQUEST
    grpc = grpc.StatusCode.INVALID_ARGUMENT
    code: int = code_pb2.INVALID_ARGUMENT
    reason = "malformed"
    """What it is counted as."""
    retry_s = 0
    """Seconds after which to send it again; 0 is never."""


class MalformedError(RequestError):
    """The body is not what its headers say."""


class UnsupportedError(RequestError):
    """A content type or encoding that is not understood."""

    http = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    reason = "unsupported"


class UnauthorizedError(RequestError):
    """No token, or one that is not known."""

    http = HTTPStatus.UNAUTHORIZED
    grpc = grpc.StatusCode.UNAUTHENTICATED
    code = code_pb2.UNAUTHENTICATED
    reason = "unauthorized"


class TooLargeError(RequestError):
    """The body exceeds `max_body_bytes`, however well it was compressed."""

    http = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    grpc = grpc.StatusCode.RESOURCE_EXHAUSTED
    code = code_pb2.RESOURCE_EXHAUSTED
    reason = "too_large"


class BusyError(RequestError):
    """Requests under way hold all the memory that they may."""

    http = HTTPStatus.TOO_MANY_REQUESTS
    grpc = grpc.StatusCode.UNAVAILABLE
    code = code_pb2.UNAVAILABLE
    reason = "memory"
    retry_s = 1


class UnavailableError(RequestError):
    """The journal has no room."""

    http = HTTPStatus.SERVICE_UNAVAILABLE
    grpc = grpc.StatusCode.UNAVAILABLE
    code = code_pb2.UNAVAILABLE
    reason = "disk"
    retry_s = RETRY_S
