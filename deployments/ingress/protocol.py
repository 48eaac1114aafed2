"""uvicorn's HTTP protocol, with less to do for what a model is asked most: a small inference request.

    bytes -> httptools -> FastPathProtocol -+- POST <prefix>/infer, a small body -> QuickCycle -> the model
                                            +- anything else                     -> uvicorn's own way

uvicorn starts its application at a request's head, wraps it in middlewares, and writes head and body of a response
apart, which the ingress then reads and writes apart as well. Here the application starts when the body is there, and
its response is written at once. docs/decisions/0006-fast-path.md says what that buys.

It builds on insides of uvicorn, so it serves with the release it was tested with and with no other.
"""

import asyncio
import logging
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

logger = logging.getLogger(__name__)

TESTED = "0.54."


def install(prefix: str, app: ASGIApp | None) -> None:
    """Let the HTTP servers that this process starts from now on answer `<prefix>/infer` the quick way.

    They ask `app`, or where there is none their own application with all its middlewares.
    """
    if uvicorn.__version__.startswith(TESTED):
        HTTP_PROTOCOLS["auto"] = partial(FastPathProtocol, prefix, app)  # type: ignore[assignment]  # it takes what makes one, too
    else:
        logger.warning(
            "small requests take uvicorn's own way: the quick one is tested with %sx, this is %s",
            TESTED,
            uvicorn.__version__,
        )


class FastPathProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, prefix: str, app: ASGIApp | None, **given: Any) -> None:
        super().__init__(**given)
        self._asked: Any = app or self.app
        self._prefix = prefix
        self._path = f"{prefix}/infer"
        self._url = self._path.encode()

    def on_headers_complete(self) -> None:
        """Take the request, or leave it to uvicorn."""
        if not self._is_quick():
            super().on_headers_complete()
            return
        self.scope |= {
            "method": "POST",
            "path": self._path,
            "raw_path": self._url,
            "root_path": self._prefix,
            "query_string": b"",
        }
        self.cycle = QuickCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )

    def on_message_complete(self) -> None:
        """Start the application for a quick request; uvicorn started it for the others."""
        super().on_message_complete()
        if isinstance(self.cycle, QuickCycle) and not self.cycle.response_complete:
            self._start_asgi_task(self.cycle, self._asked)

    def _is_quick(self) -> bool:
        """Whether it is a small request to the model, on a connection where nothing waits to be read or written."""
        return (
            self.url == self._url
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)
            and self._is_small()
        )

    def _is_small(self) -> bool:
        """Whether the body's length is known, and so little that reading it need not pause."""
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        return length.isdigit() and int(length) <= HIGH_WATER_LIMIT


class QuickCycle(RequestResponseCycle):
    """One request; holds the head of its response back until the body is there."""

    _head: Message | None = None

    async def send(self, message: Message) -> None:  # type: ignore[override]  # the same type, under another name
        """Write both at once; a response in parts goes uvicorn's way."""
        head, self._head = self._head, None
        if head is None:
            if message["type"] == "http.response.start" and not self.response_started:
                self._head = message
            else:
                await super().send(message)  # type: ignore[arg-type]
        elif self.flow.write_paused or self.disconnected or message.get("more_body") or not _has_length(head, message):
            await super().send(head)  # type: ignore[arg-type]
            await super().send(message)  # type: ignore[arg-type]
        else:
            self._write(head, message["body"])

    def _write(self, head: Message, body: bytes) -> None:
        self.response_started = self.response_complete = True
        lines = [STATUS_LINE[head["status"]]]
        for headers in (self.default_headers, head["headers"]):
            for name, value in headers:
                lines += (name, b": ", value, b"\r\n")
        lines += (b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n", body)
        self.transport.write(b"".join(lines))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _has_length(head: Message, message: Message) -> bool:
    """Whether the response is as `http.asgi.respond` gives it: the length of all its body is its last header."""
    *_, (name, value) = head["headers"]
    return bool(name == b"content-length" and int(value) == len(message["body"]))
