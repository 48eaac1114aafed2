"""A file of lines or of CSV, record by record, in pieces that can be found again by their bytes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from deployments.errors import ScoringError
from deployments.offline.rows import Chunk

MOST_BYTES = 64 * 2**20
"""A longer record is taken for a file of another format."""


@dataclass(frozen=True, slots=True)
class Record:
    """A line, or what quotes hold together of several."""

    content: bytes
    """With its line break."""
    begin: int
    end: int


def records(
    file: BinaryIO, path: str, *, begin: int = 0, end: int | None = None, quoted: bool, keeps_blank: bool
) -> Iterator[Record]:
    """The records that begin between two bytes of the file.

    `quoted` lets a field in double quotes hold line breaks (RFC 4180); blank lines are records where `keeps_blank`.

    Raises:
        ScoringError: a quote is never closed, or a record longer than `MOST_BYTES`.
    """
    file.seek(begin)
    at = begin
    while end is None or at < end:
        start, content, is_open = at, b"", False
        while not content or is_open:
            line = file.readline(MOST_BYTES)
            if not line and not content:
                return
            content = content + line if content else line
            is_open = quoted and _is_open(line, is_open)
            if len(content) >= MOST_BYTES or (is_open and not line):
                raise ScoringError(
                    f"{path}: the record at byte {start} must end within {MOST_BYTES // 2**20} MiB, got no end"
                    + (": a quote that opens there is never closed" if is_open else "")
                )
        at = start + len(content)
        if keeps_blank or content.strip(b"\r\n \t"):
            yield Record(content, start, at)


def cut(found: Iterable[Record], file: int, chunk_rows: int, first_number: int) -> Iterator[Chunk]:
    """Chunks of `chunk_rows` records; the last may have fewer."""
    number, first_row, rows, begin, end = first_number, 0, 0, 0, 0
    for record in found:
        begin = begin if rows else record.begin
        rows, end = rows + 1, record.end
        if rows == chunk_rows:
            yield Chunk(number=number, file=file, first_row=first_row, num_rows=rows, begin=begin, end=end)
            number, first_row, rows = number + 1, first_row + rows, 0
    if rows:
        yield Chunk(number=number, file=file, first_row=first_row, num_rows=rows, begin=begin, end=end)


def _is_open(line: bytes, is_open: bool) -> bool:
    """Whether a quoted field goes on after `line`; a quote opens one only where a field begins."""
    at = line.find(b'"')
    while at >= 0:
        if is_open and line[at + 1 : at + 2] == b'"':
            at += 1
        elif is_open:
            is_open = False
        elif at == 0 or line[at - 1 : at] == b",":
            is_open = True
        at = line.find(b'"', at + 1)
    return is_open
