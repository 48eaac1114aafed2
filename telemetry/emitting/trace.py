"""A request's place in its trace, by W3C Trace Context: https://www.w3.org/TR/trace-context-2/.

Timings are kept as tuples until the request's end decides whether it is reported. What is done for it meanwhile, in
this process or another, finds it by `current`.
"""

import random
import re
import time
from contextvars import ContextVar
from typing import NamedTuple, Self

from telemetry.emitting.data_points import Attributes

INTERNAL, SERVER, CLIENT = 1, 2, 3
"""Kinds of spans, by OTLP's numbers."""
MAX_STATE = 512
"""Characters of a `tracestate` that are passed on; a longer one is left out, as the recommendation allows."""
MAX_CHILDREN = 128
"""Of one request; OpenTelemetry's own limit for links and events."""

_TRACEPARENT = re.compile(
    r"[ \t]*(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})-[0-9a-f]"
    r"(?P<flags>[0-9a-f])(?P<rest>-.*)?[ \t]*"
)
"""The flags are a bit field, of which only the last bit says "sampled"; a version that is not known yet is read as far
as version 00 goes. Read here: the SDK's propagator would take 8 µs of every request that has one."""
_RANDOM = random.Random()  # of its own: a model's code may seed Python's, in each replica alike


class Caller(NamedTuple):
    """The span that a request comes from."""

    trace_id: int
    span_id: int
    is_sampled: bool


class Child(NamedTuple):
    """Something that was done for a request; times in nanoseconds since the epoch."""

    name: str
    start_ns: int
    end_ns: int
    span_id: int = 0
    """0 where nobody else knows it."""
    kind: int = INTERNAL
    attributes: Attributes = ()
    error: str | None = None
    link: bytes = b""
    """To a span elsewhere, encoded (`telemetry.emitting.span_bytes.link_field`)."""


class Link(NamedTuple):
    """A span elsewhere that a span has to do with."""

    trace_id: int
    span_id: int


class Passed(NamedTuple):
    """What another process is told, so that its spans join the trace."""

    traceparent: str
    tracestate: str = ""


class Trace:
    """One request under way."""

    __slots__ = ("children", "is_sampled", "parent_id", "span_id", "state", "trace_id")

    def __init__(self, trace_id: int, parent_id: int, state: str, *, is_sampled: bool) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        """0 where the trace begins here."""
        self.state = state
        self.is_sampled = is_sampled
        """Whether it is reported however it ends."""
        self.span_id = 0
        self.children: list[Child] | None = None

    def own_id(self) -> int:
        """The request's own span, made when it is first asked for."""
        if not self.span_id:
            self.span_id = new_span_id()
        return self.span_id

    def add(self, child: Child) -> None:
        """Keep what was done; beyond `MAX_CHILDREN` no more."""
        if self.children is None:
            self.own_id()
            self.children = []
        if len(self.children) < MAX_CHILDREN:
            self.children.append(child)

    def passed(self, span_id: int) -> Passed:
        """What to tell another process that is asked under the child `span_id`."""
        flags = "01" if self.is_sampled else "00"
        return Passed(f"00-{self.trace_id:032x}-{span_id:016x}-{flags}", self.state)


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The request that this task works for."""


class Asked:
    """What the current request asks of another process, as a span of kind client; it ends with a `with` statement, or
    when it is told."""

    __slots__ = ("_name", "_span_id", "_start_ns", "_trace", "passed")

    def __init__(self, name: str) -> None:
        self._name = name
        self._trace = current.get()
        self._start_ns = time.time_ns()
        self._span_id = new_span_id() if self._trace else 0
        self.passed = self._trace.passed(self._span_id) if self._trace else None
        """What the other process is told; nothing where no request is under way."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.ended(error=type(error).__name__ if error else None)

    def ended(self, attributes: Attributes = (), error: str | None = None) -> None:
        """It has answered, or not; `error` says why not."""
        if self._trace is not None:
            times = self._start_ns, time.time_ns()
            self._trace.add(Child(self._name, *times, self._span_id, CLIENT, attributes, error))


def caller_of(traceparent: str | None) -> Caller | None:
    """The span that `traceparent` names; none where it is missing or no valid one."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None or (found["rest"] and found["version"] == "00"):
        return None
    return Caller(int(found["trace"], 16), int(found["span"], 16), bool(int(found["flags"], 16) & 1))


def state_of(tracestate: str | None) -> str:
    """What of a `tracestate` is passed on."""
    return tracestate if tracestate and len(tracestate) <= MAX_STATE and tracestate.isascii() else ""


def new_span_id() -> int:
    """A random one, never 0."""
    return _RANDOM.getrandbits(64) or 1


def new_trace_id() -> int:
    """A random one, never 0."""
    return _RANDOM.getrandbits(128) or 1
