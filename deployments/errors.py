"""What can go wrong with a request.

    request -> asgi.read_body (413) -> protocol.decode (400) -> Batcher.submit (503) -> Session.run (500) -> response

`RequestError`s are the caller's to mend and say how; anything else is ours, is logged, and reaches the caller as a
500 without its insides.
"""


class RequestError(Exception):
    """The request cannot be answered as it is; `status` is the HTTP status that says so."""

    status = 400


class NotFoundError(RequestError):
    """No such model, version or path."""

    status = 404


class MethodNotAllowedError(RequestError):
    """The path exists, the method does not."""

    status = 405


class BodyTooLargeError(RequestError):
    """The body is over the limit."""

    status = 413


class UnavailableError(RequestError):
    """The model is shutting down or not loaded."""

    status = 503


class SettingsError(Exception):
    """`serve_config.yaml` names something that cannot be served."""
