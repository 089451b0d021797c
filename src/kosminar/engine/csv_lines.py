"""A CSV file as lines with named fields: each line of the file is in exactly one `Line`, whatever its quotes do.

A quoted cell may go over several lines. A quote that is never closed, or closed far away by the next stray one, would
take the lines between with it; so a record over several lines is taken as one only if it is small, complete, none of
its lines is a record by itself, and only prose has a line break: a name, an attribute, or a column that is passed over.
Else its first line is refused and reading goes on with the next (ADR-0039). Reads ahead no more than the largest
record. Knows neither customers nor activities. Tested by tests/engine/test_csv_lines.py.
"""

import csv
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from kosminar.core.errors import CommandRefused

RECORD_LINES_MAX: Final = 100
"""No receipt's note is longer; a quote that is open for more lines was never meant."""

RECORD_BYTES_MAX: Final = 1 << 18
"""Of a record, on one line or several. A cell holds half as many characters (`csv.field_size_limit`)."""

ATTRIBUTE_PREFIX: Final = "attributes."

Fields = Mapping[str, str]


class ImportRefused(CommandRefused):
    """The file as a whole cannot be imported; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Line:
    """A record as fields, from `line_number` on; `fault` instead where the file itself is broken there.

    `line_number` counts from 1 with the header. Empty lines are no records.
    """

    line_number: int
    fields: Fields
    fault: str | None = None
    line_count: int = 1


@dataclass(frozen=True, slots=True)
class _Physical:
    """A line of the file up to its LF; no text if it is longer than a record may be."""

    text: str | None
    byte_count: int


class _Ahead:
    """The lines that were read and not yet taken; `position` is in bytes, after what was taken."""

    def __init__(self, binary: IO[bytes]) -> None:
        self._binary = binary
        self._lines: deque[_Physical] = deque()
        # A byte order mark is no part of the first column's name.
        self._encoding = "utf-8-sig"
        self.number = 0
        self.position = 0

    def look(self, index: int) -> _Physical | None:
        """The line so many lines after the next one, or None after the last."""
        while len(self._lines) <= index:
            line = self._read()
            if line is None:
                return None
            self._lines.append(line)
        return self._lines[index]

    def take(self, count: int) -> None:
        for _ in range(count):
            self.position += self._lines.popleft().byte_count
        self.number += count

    def _read(self) -> _Physical | None:
        raw = self._binary.readline(RECORD_BYTES_MAX + 1)
        if not raw:
            return None
        if len(raw) > RECORD_BYTES_MAX:
            return _Physical(None, len(raw) + self._skip(raw))
        # A byte that is no UTF-8 becomes a lone surrogate, and is refused with its record.
        text, self._encoding = raw.decode(self._encoding, errors="surrogateescape"), "utf-8"
        return _Physical(text, len(raw))

    def _skip(self, raw: bytes) -> int:
        skipped = 0
        while not raw.endswith(b"\n") and (raw := self._binary.readline(RECORD_BYTES_MAX)):
            skipped += len(raw)
        return skipped


class Lines:
    """The records of a CSV file, with the columns named as the JSON fields.

    `plausible` says whether fields could be a record, for lines that a quote has swallowed.
    """

    def __init__(
        self,
        path: Path,
        fields: Sequence[str],
        mapping: Mapping[str, str],
        *,
        attributes: bool,
        plausible: Callable[[Fields], bool],
        prose: Collection[str] = (),
    ) -> None:
        self._path = path
        self._fields = fields
        self._mapping = mapping
        self._attributes = attributes
        self._plausible = plausible
        # Fields that people write freely, over several lines if they like.
        self._prose = prose
        self.position = 0

    def __iter__(self) -> Iterator[Line]:
        with self._path.open("rb") as binary:
            ahead = _Ahead(binary)
            header = self._header(ahead)
            while (first := ahead.look(0)) is not None:
                line = self._next(ahead, first, header)
                ahead.take(1 if line is None else line.line_count)
                self.position = ahead.position
                if line is not None:
                    yield line

    def columns(self) -> list[str]:
        """The header's columns that are imported, as fields."""
        with self._path.open("rb") as binary:
            return [name for name in self._header(_Ahead(binary)) if name is not None]

    def _next(self, ahead: _Ahead, first: _Physical, header: Sequence[str | None]) -> Line | None:
        """The record that begins with the next line; None for an empty line."""
        number = ahead.number + 1
        if first.text is None:
            return Line(number, {}, f"is longer than {RECORD_BYTES_MAX:,} bytes")
        texts = _Texts(ahead)
        try:
            cells = next(csv.reader(texts, strict=True))
        except csv.Error as error:
            return Line(number, {}, texts.unclosed or _broken(number, len(texts.read), error))
        if not cells:
            return None
        count = len(texts.read)
        if count > 1:
            doubt = self._doubt(texts.read, cells, header, number)
            if doubt is not None:
                return Line(number, {}, doubt)
        if len(cells) != len(header):
            return Line(number, {}, f"has {len(cells)} cells where the header has {len(header)}")
        if not _storable("".join(cells)):
            return Line(number, {}, "is not UTF-8, or contains the character NUL", count)
        return Line(number, _named(header, cells), None, count)

    def _doubt(
        self, texts: Sequence[str], cells: Sequence[str], header: Sequence[str | None], number: int
    ) -> str | None:
        """Why what a quote holds together over several lines is taken as no record."""
        opens = f"opens a quote that is closed on line {number + len(texts) - 1}"
        if len(cells) != len(header):
            return f"{opens}, with {len(cells)} cells where the header has {len(header)}; each line is read by itself"
        one_line = set(self._fields) - set(self._prose)
        cells_by_name = zip(header, cells, strict=True)
        broken = next((name for name, cell in cells_by_name if name in one_line and "\n" in cell), None)
        if broken is not None:
            return f"{opens}, but {broken} has no line break; each line is read by itself"
        # In the first cell, what closes the quote always looks like a record: nothing stands before it. There the line
        # that opens it may be one, but for the quote.
        after_first = len(_alone(texts[0])) > 1
        asked = texts[1:] if after_first else [texts[0].removeprefix('"'), *texts[1:-1]]
        for swallowed_number, text in enumerate(asked, start=number + int(after_first)):
            alone = _alone(text)
            if len(alone) == len(header) > 1 and self._plausible(_named(header, alone)):
                return f"{opens}, but line {swallowed_number} is a record by itself; each line is read by itself"
        return None

    def _header(self, ahead: _Ahead) -> list[str | None]:
        first = ahead.look(0)
        text = "" if first is None else first.text
        if text is None:
            raise ImportRefused(f"The header of {self._path.name} is longer than {RECORD_BYTES_MAX:,} bytes.")
        try:
            # Of one line alone: what a quote of the header swallowed would have no result.
            columns = next(csv.reader([text], strict=True))
        except csv.Error as error:
            raise ImportRefused(f"The header of {self._path.name} {_broken(1, 1, error)}.") from None
        if not columns:
            raise ImportRefused(f"{self._path.name} is empty: the first line must name the columns.")
        if not _storable("".join(columns)):
            # The name of an attribute would go into the database with every line.
            raise ImportRefused(f"The header of {self._path.name} is not UTF-8, or contains the character NUL.")
        unknown = [column for column in self._mapping if column not in columns]
        if unknown:
            raise ImportRefused(f"--map names {unknown[0]!r}, which is no column: there are {', '.join(columns)}.")
        fields = [self._field(column) for column in columns]
        known = [name for name in fields if name is not None]
        twice = next((name for name in known if known.count(name) > 1), None)
        if twice is not None:
            raise ImportRefused(f"Two columns are both {twice}; map one of them elsewhere.")
        ahead.take(1)
        return fields

    def _field(self, column: str) -> str | None:
        """The field a column stands for: mapped, or named like one; None for a column that is passed over."""
        name = self._mapping.get(column, column)
        if name in self._fields or (self._attributes and name.startswith(ATTRIBUTE_PREFIX)):
            return name
        if column in self._mapping:
            names = [*self._fields, *(["attributes.<name>"] if self._attributes else [])]
            raise ImportRefused(f"--map {column}={name}: {name} is no field; the fields are {', '.join(names)}.")
        return None


class _Texts:
    """The lines that the CSV reader asks for: the next one, and more while a quote is open, within the bounds."""

    def __init__(self, ahead: _Ahead) -> None:
        self._ahead = ahead
        self._byte_count = 0
        self.read: list[str] = []
        self.unclosed: str | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._ahead.look(len(self.read))
        self._byte_count += 0 if line is None else line.byte_count
        if line is None:
            self.unclosed = "opens a quote that is not closed before the end of the file"
        elif line.text is None or self._byte_count > RECORD_BYTES_MAX or len(self.read) == RECORD_LINES_MAX:
            self.unclosed = (
                f"opens a quote that is not closed within {RECORD_LINES_MAX} lines and {RECORD_BYTES_MAX:,} bytes"
            )
        else:
            self.read.append(line.text)
            return line.text
        self.unclosed += "; the lines after it are read by themselves"
        raise StopIteration


def _alone(text: str) -> list[str]:
    """A line's cells as if it were a record, its quotes closed or not; none if it is no CSV."""
    try:
        return next(csv.reader([text]))
    except csv.Error:
        return []


def _named(header: Sequence[str | None], cells: Sequence[str]) -> dict[str, str]:
    return {name: cell for name, cell in zip(header, cells, strict=True) if name is not None and cell != ""}


def _broken(number: int, count: int, error: csv.Error) -> str:
    """In the file's terms, where the module's own words are about how Python opens and ends files."""
    words = str(error)
    if "new-line" in words:
        words = "a carriage return stands outside quotes; lines end with LF or CR LF"
    elif "unexpected end" in words:
        words = "a quote is opened that is not closed on this line"
    if count == 1:
        return f"is not CSV: {words}"
    return f"opens a quote, and line {number + count - 1} is then not CSV: {words}; each line is read by itself"


def _storable(text: str) -> bool:
    """Bytes that were no UTF-8 have become surrogates, which cannot be written again; PostgreSQL knows no NUL."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
