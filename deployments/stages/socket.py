"""Calls of a stage by a socket of its node: a tenth of what a call of Ray costs; what is large, or far, goes by Ray.

    frame: lengths of both -> header, JSON -> tensors, one after the other, each at a multiple of 16 bytes

A connection carries many calls at a time, told apart by a number. Closing it ends all that came by it.
"""

import asyncio
import itertools
import logging
import shutil
import socket
import struct
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from deployments.oip.tensors import DTYPES, Array, from_binary, to_binary
from deployments.oip.urgency import Urgency
from deployments.scatter.part import GoneError, LostError, Refusal
from deployments.stages.stage_call import Failure, Missing, StageAnswer, StageCall, Stored, Tensors
from telemetry.emitting.trace import Passed

logger = logging.getLogger(__name__)

_LENGTHS = struct.Struct("<IQ")
_ALIGNED = 16
_PREFIX = "trimtab-stage-"
_NAME = "calls"
_BUFFER_BYTES = 2**20
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ROWS = ""
"""In place of a name: which rows of the others are meant."""
_OUTPUTS = "outputs"

_ANSWERS = {"refusal": Refusal, "failure": Failure, "missing": Missing}


@dataclass(frozen=True, kw_only=True)
class _Frame:
    head: dict[str, Any]
    tensors: dict[str, Array]


class StageSocket:
    """Listens for calls in a folder that is this user's alone, and answers them by `answer`."""

    def __init__(self, answer: Callable[[StageCall], Awaitable[StageAnswer]]) -> None:
        self._answer = answer
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # readable by its owner alone
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def path(self) -> str:
        """Where it listens."""
        return str(self._folder / _NAME)

    async def start(self) -> None:
        """Listen from now on; what replicas left here that were killed is removed."""
        await asyncio.to_thread(_forget_dead)
        unheard = f"{self.path}.new"  # nobody finds it before it listens, and takes it for dead
        self._server = await asyncio.start_unix_server(self._connected, unheard, limit=_BUFFER_BYTES)
        Path(unheard).rename(self.path)

    async def stop(self) -> None:
        """Listen no more, and end what is under way."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        calls: dict[int, asyncio.Task[None]] = {}
        try:
            while (frame := await _read(reader)) is not None:
                number = frame.head["call"]
                if frame.head.get("cancel"):
                    if call := calls.get(number):
                        call.cancel()
                    continue
                task = asyncio.ensure_future(self._respond(number, frame, writer))
                calls[number] = task
                task.add_done_callback(partial(_forget, calls, number))
        finally:
            for task in list(calls.values()):
                task.cancel()
            self._writers.discard(writer)
            writer.close()

    async def _respond(self, number: int, frame: _Frame, writer: asyncio.StreamWriter) -> None:
        try:
            framed = _framed_answer(number, await self._answer(_call_of(frame)))
        except Exception as error:  # nobody may wait for ever because of it
            logger.exception("a call of a stage failed")
            framed = _framed_answer(
                number, Failure(kind=type(error).__name__, message=f"{type(error).__name__}: {error}")
            )
        writer.write(framed)


class StageConnection:
    """Calls a stage of this node by its socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[StageAnswer]] = {}
        self._lost: str | None = None
        self._reading = asyncio.ensure_future(self._read(reader))

    @classmethod
    async def open(cls, path: str) -> "StageConnection":
        """Connect to the socket at `path`.

        Raises:
            OSError: nobody listens there, or this process may not connect.
        """
        return cls(*await asyncio.open_unix_connection(path, limit=_BUFFER_BYTES))

    def close(self) -> None:
        """Call no more."""
        self._reading.cancel()
        self._writer.close()

    async def answer(self, call: StageCall) -> StageAnswer:
        """What the stage answers; cancelled there where the caller is.

        Raises:
            LostError, GoneError: it has gone, with the call or before.
        """
        if self._lost is not None:
            raise GoneError(self._lost)
        number = next(self._numbers)
        waiting: asyncio.Future[StageAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._writer.write(_framed(_head_of(number, call), _tensors_of(call)))
        try:
            return await waiting
        except asyncio.CancelledError:
            self._writer.write(_framed({"call": number, "cancel": True}, {}))
            raise
        finally:
            del self._waiting[number]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while (frame := await _read(reader)) is not None:
                waiting = self._waiting.get(frame.head["call"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(_answer_of(frame))
        finally:
            self._lost = "it closed its socket"
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(LostError(self._lost))


def can_carry(tensors: Tensors) -> bool:
    """Whether they can be sent: what lies in shared memory is named to Ray."""
    return not any(isinstance(each, Stored) for each in tensors.values())


def _forget_dead() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_NAME}"):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                shutil.rmtree(path.parent, ignore_errors=True)
            except OSError:  # another user's, or gone by now
                continue


def _head_of(number: int, call: StageCall) -> dict[str, Any]:
    return {
        "call": number,
        "version": call.version,
        "timeout_s": call.urgency.timeout_s,
        "priority": call.urgency.priority,
        "has_rows": call.rows is not None,
        "all_rows": list(call.all_rows),
        "trace": list(call.trace) if call.trace else None,
    }


def _tensors_of(call: StageCall) -> Tensors:
    return call.inputs if call.rows is None else {_ROWS: call.rows, **call.inputs}


def _call_of(frame: _Frame) -> StageCall:
    head, tensors = frame.head, frame.tensors
    return StageCall(
        version=head["version"],
        rows=tensors.pop(_ROWS) if head["has_rows"] else None,
        inputs=tensors,
        urgency=Urgency(timeout_s=head["timeout_s"], priority=head["priority"]),
        all_rows=frozenset(head["all_rows"]),
        trace=Passed(*head["trace"]) if head["trace"] else None,
    )


def _answer_of(frame: _Frame) -> StageAnswer:
    kind = frame.head["kind"]
    if kind == _OUTPUTS:
        return dict(frame.tensors)
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in frame.head["fields"].items()}
    answer: Refusal | Failure | Missing = _ANSWERS[kind](**fields)
    return answer


def _forget(calls: dict[int, asyncio.Task[None]], number: int, _: asyncio.Task[None]) -> None:
    calls.pop(number, None)


def _framed_answer(number: int, answer: StageAnswer) -> bytes:
    if isinstance(answer, dict):
        return _framed({"call": number, "kind": _OUTPUTS}, answer)
    return _framed({"call": number, "kind": type(answer).__name__.lower(), "fields": vars(answer)}, {})


def _framed(head: Mapping[str, Any], tensors: Tensors) -> bytes:
    entries: list[tuple[str, str, tuple[int, ...], int]] = []
    chunks: list[bytes] = []
    for name, array in tensors.items():
        assert not isinstance(array, Stored), "see can_carry"
        raw = to_binary(array)
        entries.append((name, _NAMES[array.dtype], array.shape, len(raw)))
        chunks += (raw, bytes(-len(raw) % _ALIGNED))
    header = orjson.dumps({**head, "tensors": entries})
    header += b" " * (-(_LENGTHS.size + len(header)) % _ALIGNED)
    return b"".join((_LENGTHS.pack(len(header), sum(map(len, chunks))), header, *chunks))


async def _read(reader: asyncio.StreamReader) -> _Frame | None:
    """The next frame; none once the other side has closed."""
    try:
        header_bytes, body_bytes = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
        head = orjson.loads(await reader.readexactly(header_bytes))
        body = memoryview(await reader.readexactly(body_bytes))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    tensors: dict[str, Array] = {}
    at = 0
    for name, datatype, shape, size in head["tensors"]:
        tensors[name] = from_binary(name, datatype, shape, body[at : at + size])
        at += size + -size % _ALIGNED
    return _Frame(head=head, tensors=tensors)
